"""`stac-manager output`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import click

from stac_manager.cli.common import Run, not_yet, shared_options
from stac_manager.dedup import DedupBuffer
from stac_manager.errors import UsageError
from stac_manager.items import Item, dumps, loads
from stac_manager.times import sortable_time

__all__ = ["output"]


@click.command("output", no_args_is_help=True)
@click.option("--input", "source", required=True, metavar="F|DIR", help="A file of items, a folder of them, or - .")
@click.option(
    "--format", "form", type=click.Choice(["parquet", "json", "pgstac"]), default="parquet", show_default=True
)
@click.option("--output", "target", required=True, metavar="F|DIR", help="A .parquet file, or a folder to put it in.")
@shared_options(dry_run=True)
def output(run: Run, source: str, form: str, target: str) -> None:
    """Write items as stac-geoparquet, in their order.

    Of several items with one id in one collection, the one updated last is written, at the place of the first one.

    \b
    Example:
      stac-manager output --input items.ndjson --format parquet --output items.parquet
    """
    if form != "parquet":
        raise not_yet(f"--format {form}")
    target = _file_of(target, source)
    run.write(target, _distinct(run, run.items(source, "output")))
    summary = run.summary
    where = f" to {target}" if summary.published else ""
    written = f"{summary.published} items {'would be written' if run.dry_run else 'written'}{where}"
    repeated = f"{summary.duplicates} duplicates{', of which the newest were kept' if summary.duplicates else ''}"
    run.closing = f"{written}; {summary.failed} failed; {repeated}"


def _file_of(target: str, source: str) -> str:
    """The file to write. The target is a folder if it exists as one, ends with `/`, or has no ending.

    Raises:
        UsageError: the target is neither a .parquet file nor a folder.
    """
    if target == "-":
        raise UsageError("Parquet cannot be written to standard output")
    path = Path(target)
    if path.is_dir() or target.endswith("/") or not path.suffix:
        name = "" if source == "-" else Path(source).resolve().name.split(".")[0]
        return str(path / f"{name or 'items'}.parquet")
    if path.suffix != ".parquet":
        raise UsageError(
            f"--output {target}: --format parquet writes a file that ends in .parquet; for a folder of this name, "
            f"write {target}/"
        )
    return target


@dataclass(frozen=True, slots=True)
class _Buffered:
    """An item with its collection and id as the key."""

    id: str
    updated: str
    line: bytes


def _distinct(run: Run, items: Iterable[Item]) -> Iterator[Item]:
    """The items, each once, at the place of the first one with its id; counts the others as duplicates."""
    with DedupBuffer() as buffer:
        for batch in batched(items, 256):
            buffer.add(map(_buffered, batch))
        run.summary.duplicates = buffer.received - len(buffer)
        yield from (loads(line) for _, line in buffer.as_they_came())


def _buffered(item: Item) -> _Buffered:
    key = dumps([item.get("collection"), item["id"]]).decode()
    return _Buffered(key, sortable_time(item["properties"].get("updated")), dumps(item))
