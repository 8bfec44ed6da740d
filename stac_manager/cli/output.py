"""`stac-manager output`."""

from __future__ import annotations

from pathlib import Path

import click

from stac_manager.cli.common import Run, not_yet, shared_options
from stac_manager.errors import UsageError

__all__ = ["output"]


@click.command("output", no_args_is_help=True)
@click.option("--input", "source", required=True, metavar="F", help=".ndjson, .ndjson.zst, .json, .parquet or - .")
@click.option(
    "--format", "form", type=click.Choice(["parquet", "json", "pgstac"]), default="parquet", show_default=True
)
@click.option("--output", "target", required=True, metavar="F|DIR", help="A .parquet file, or a folder to put it in.")
@shared_options(dry_run=True)
def output(run: Run, source: str, form: str, target: str) -> None:
    """Write items as stac-geoparquet.

    \b
    Example:
      stac-manager output --input items.ndjson --format parquet --output items.parquet
    """
    if form != "parquet":
        raise not_yet(f"--format {form}")
    if target == "-":
        raise UsageError("Parquet cannot be written to standard output")
    if not target.endswith(".parquet"):
        stem = "items" if source == "-" else Path(source).name.split(".")[0]
        target = str(Path(target) / f"{stem}.parquet")
    run.write(target, run.items(source, "output"))
