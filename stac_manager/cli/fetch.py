"""`stac-manager fetch-items`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from stac_manager.cli.common import (
    BBOX,
    INTERVAL,
    JSON,
    Run,
    check_target,
    console,
    progress,
    shared_options,
)
from stac_manager.errors import UsageError
from stac_manager.http import HttpSettings
from stac_manager.ingest import IngestModule, SearchFilter, StacApiSource
from stac_manager.times import Window, parse_interval, timestamp

__all__ = ["fetch_items"]


@click.command("fetch-items", no_args_is_help=True)
@click.option("--catalog-url", required=True, metavar="URL", help="Landing page of a STAC API.")
@click.option("--collection-id", required=True, metavar="ID", help="The collection to fetch from.")
@click.option("--datetime", "interval", type=INTERVAL, help="Only items in this closed interval; A or B may be `..`.")
@click.option("--bbox", type=BBOX, help="Only items that touch this box, in degrees.")
@click.option("--cql2", type=JSON, help="A CQL2 JSON filter.")
@click.option("--query", type=JSON, help="A filter of the query extension.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N items.")
@click.option("--page-size", type=click.IntRange(1, 10_000), default=250, show_default=True, metavar="N")
@click.option("--concurrency", type=click.IntRange(1, 64), default=5, show_default=True, help="Requests at once.")
@click.option(
    "--rate-limit", type=click.FloatRange(0), default=0.0, metavar="R", help="Requests a second; 0: no limit."
)
@click.option("--output", required=True, metavar="F", help=".ndjson, .ndjson.zst, .json, .parquet or - .")
@shared_options(dry_run=True)
def fetch_items(run: Run, interval: str | None, limit: int | None, output: str, **options: Any) -> None:
    """Fetch the items of a collection, each once, sorted by id.

    \b
    Example:
      stac-manager fetch-items --catalog-url https://earth-search.aws.element84.com/v1 \\
        --collection-id sentinel-2-l2a --datetime 2024-06-01/2024-06-30 --bbox 7,46,8,47 --output june.ndjson.zst
    """
    check_target(output)
    source = _source(options)
    source.collection()  # otherwise an unknown collection would look like an empty one
    with IngestModule(source) as ingest:
        with progress("fetching", limit) as advance:
            facts = ingest.fetch(_window(interval), limit=limit, on_progress=advance)
        run.summary.fetched, run.summary.duplicates = ingest.received, ingest.duplicates
        for record in ingest.rejected_items.records(timestamp):
            run.summary.failed += 1
            run.keep_failure(record)
        run.summary.skipped = ingest.outside + (max(0, len(ingest.items) - limit) if limit else 0)
        run.write_lines(output, (line for _, line in islice(ingest, limit)))
    more = "".join(
        f", {count} {name}" for name, count in (("retries", facts.retries), ("splits", facts.splits)) if count
    )
    console.print(f"{run.summary.published} items in {facts.requests} requests over {facts.slices} slices{more}")


def _source(options: dict[str, Any]) -> StacApiSource:
    if math.isnan(options["rate_limit"]) or math.isinf(options["rate_limit"]):
        raise UsageError("--rate-limit is not a number of requests a second")
    if options["cql2"] and options["query"]:
        raise UsageError("--cql2 and --query cannot be used together")
    return StacApiSource(
        options["catalog_url"],
        options["collection_id"],
        SearchFilter(bbox=options["bbox"], cql2=options["cql2"], query=options["query"]),
        HttpSettings(concurrency=options["concurrency"], rate_limit=options["rate_limit"] or None),
        options["page_size"],
    )


def _window(interval: str | None) -> Window | None:
    if interval is None:
        return None
    start, end = parse_interval(interval)
    return Window(start or datetime(1, 1, 1, tzinfo=UTC), end or datetime(9999, 12, 31, tzinfo=UTC))
