"""`stac-manager discover-collections`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from stac_manager.cli.common import BBOX, INTERVAL, Run, shared_options
from stac_manager.discovery import Collection, CollectionFilter, DiscoveryModule
from stac_manager.files import atomic_file

__all__ = ["discover_collections"]

_FIELDS = ("id", "title", "start", "end", "bbox", "license", "providers")


@click.command("discover-collections", no_args_is_help=True)
@click.option("--catalog-url", required=True, metavar="URL", help="Landing page of a STAC API.")
@click.option("--collection-id", "ids", multiple=True, metavar="GLOB", help="Name or wildcard; may be repeated.")
@click.option("--provider", metavar="NAME", help="Part of a provider's name.")
@click.option("--bbox", type=BBOX, help="Only collections that touch this box, in degrees.")
@click.option("--datetime", type=INTERVAL, help="Only collections that touch this interval.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--output", metavar="F", default="-", help="Write to a file instead of the terminal.")
@shared_options()
def discover_collections(run: Run, catalog_url: str, form: str, output: str, **wanted: Any) -> None:
    """List the collections of a STAC API.

    \b
    Example:
      stac-manager discover-collections --catalog-url https://earth-search.aws.element84.com/v1 \\
        --collection-id 'sentinel-2-*' --format csv
    """
    found = DiscoveryModule(catalog_url).collections(CollectionFilter(**wanted))
    run.summary.fetched = len(found)
    render = {"table": _table, "json": _json, "csv": _csv}[form]
    text = render(found, output == "-")
    if output == "-":
        click.echo(text, nl=False)
        return
    with atomic_file(Path(output)) as path:
        path.write_text(text, encoding="utf-8")


def _row(collection: Collection) -> dict[str, str]:
    extent = collection.get("extent") or {}
    interval = ((extent.get("temporal") or {}).get("interval") or [[None, None]])[0]
    boxes = (extent.get("spatial") or {}).get("bbox") or [[]]
    return {
        "id": str(collection.get("id", "")),
        "title": str(collection.get("title") or ""),
        "start": interval[0] or "",
        "end": interval[1] or "",
        "bbox": ",".join(f"{number:g}" for number in boxes[0]),
        "license": str(collection.get("license") or ""),
        "providers": "; ".join(str(provider.get("name", "")) for provider in collection.get("providers") or []),
    }


def _table(collections: list[Collection], to_terminal: bool) -> str:
    table = Table("collection", "title", "from", "to", "license")
    for collection in collections:
        row = _row(collection)
        table.add_row(row["id"], row["title"], row["start"][:10], row["end"][:10] or "…", row["license"])
    console = Console(file=io.StringIO(), width=None if to_terminal else 160)
    with console.capture() as capture:
        console.print(table)
        console.print(f"{len(collections)} collections")
    return capture.get()


def _json(collections: list[Collection], to_terminal: bool) -> str:
    return orjson.dumps(collections, option=orjson.OPT_INDENT_2).decode() + "\n"


def _csv(collections: list[Collection], to_terminal: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(collection) for collection in collections)
    return text.getvalue()
