"""`stac-manager validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from stac_manager.cli.common import Run, console, progress, shared_options, values_in
from stac_manager.quarantine import RejectedItem
from stac_manager.validate import ItemVerdict, ReportBuilder, SchemaStore, Validator, Verdict

__all__ = ["validate"]


@click.command("validate", no_args_is_help=True)
@click.option("--input", "source", required=True, metavar="F|DIR", help="A file of items, a folder of them, or - .")
@click.option(
    "--schema-dir",
    "schema_dirs",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of schemas with the layout <host>/<path>; may be repeated.",
)
@click.option("--level", type=click.Choice(["strict", "lenient"]), default="strict", show_default=True)
@click.option("--offline", is_flag=True, help="Never download a schema.")
@click.option("--report", metavar="F.json", help="Write the validation report.")
@shared_options()
def validate(
    run: Run,
    source: str,
    schema_dirs: tuple[Path, ...],
    level: Literal["strict", "lenient"],
    offline: bool,
    report: str | None,
) -> None:
    """Validate STAC objects against their core and extension schemas.

    \b
    Example:
      stac-manager validate --input items.ndjson --schema-dir ./schemas --offline --report report.json
    """
    validator = Validator(SchemaStore(schema_dirs, offline=offline), level=level)
    builder = ReportBuilder()
    with progress("validating") as advance:
        for value in values_in(source, "validated"):
            run.summary.fetched += 1
            advance(1)
            if isinstance(value, RejectedItem):
                run.reject(value)
                continue
            verdict = validator.check(value)
            builder.add(verdict)
            _count(run, value, verdict)
    if report:
        builder.write(Path(report))
    _tell(builder)


def _count(run: Run, value: Any, verdict: ItemVerdict) -> None:
    if verdict.accepted:
        run.summary.published += 1
    else:
        run.reject(RejectedItem(verdict.item_id, "InvalidItem", verdict.summary, "validated", value))


def _tell(builder: ReportBuilder) -> None:
    counts = builder.counts
    console.print(", ".join(f"{counts[name]} {name}" for name in Verdict))
    for reason, count in builder.top_reasons(10):
        console.print(f"{count:>8} x {reason}", markup=False)
