"""`stac-manager rebuild-catalog`."""

from __future__ import annotations

from collections import Counter

import click
from rich.table import Table
from rich.text import Text

from stac_manager.cli.common import Run, console, not_yet, progress, shared_options
from stac_manager.config import Workflow, load_workflow
from stac_manager.errors import StacManagerError, UsageError
from stac_manager.pipeline import Chain, read_refused
from stac_manager.pipeline.manifest import STAGES, Place
from stac_manager.pipeline.rebuild import PartitionResult, rebuild, select
from stac_manager.storage import Storage

__all__ = ["rebuild_catalog"]


@click.command("rebuild-catalog", no_args_is_help=True)
@click.option("--config", required=True, metavar="WORKFLOW", help="The workflow file.")
@click.option("--mode", type=click.Choice(["full", "incremental", "targeted"]), default="full", show_default=True)
@click.option("--collection", "collections", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option("--partition", "partitions", multiple=True, metavar="P", help="Only this one; may be repeated.")
@click.option("--item-id", "item_ids", multiple=True, metavar="ID", help="Not supported yet.")
@shared_options(dry_run=True)
def rebuild_catalog(
    run: Run,
    config: str,
    mode: str,
    collections: tuple[str, ...],
    partitions: tuple[str, ...],
    item_ids: tuple[str, ...],
) -> None:
    """Run a workflow's stages, on the same files that Dagster uses.

    \b
    Example:
      stac-manager rebuild-catalog --config workflows/earth-search.yaml --mode full --partition 2024-06
    """
    if mode != "full" or item_ids:
        raise not_yet("--item-id" if item_ids else f"--mode {mode}")
    workflow = load_workflow(config)
    chosen = select(workflow, collections, partitions)
    if run.dry_run:
        for collection, keys in chosen:
            click.echo(f"{collection}: {len(keys)} partitions, {keys[0]} to {keys[-1]}")
        return
    storage = Storage(workflow.output.path)
    failed = [error for collection, keys in chosen for error in _rebuild(run, workflow, storage, collection, keys)]
    if failed:
        run.finish()
        raise StacManagerError("\n".join(failed))


def _rebuild(run: Run, workflow: Workflow, storage: Storage, collection: str, keys: list[str]) -> list[str]:
    chain = Chain.of(workflow, collection)
    failed = []
    table = Table(
        "partition", "fetched", "published", "quarantined", "duplicates", "skipped", "checks", title=Text(collection)
    )
    try:
        with progress(collection, len(keys) * len(STAGES)) as advance:
            for result in rebuild(chain, keys, lambda *_: None):
                advance(len(STAGES))
                _add(run, result, table)
                _keep_failures(run, storage, result)
                if result.error:
                    failed.append(f"{collection} {result.partition}: {result.error}")
    except StacManagerError as error:
        if error.exit_code == UsageError.exit_code:
            raise
        failed.append(str(error))
    console.print(table)
    return failed


def _add(run: Run, result: PartitionResult, table: Table) -> None:
    counts, changes, total = result.counts, result.changes, run.summary
    total.fetched += counts.fetched
    total.published += counts.published
    total.skipped += counts.skipped
    total.duplicates += counts.deduplicated
    for kind in ("added", "modified", "deleted", "unchanged"):
        setattr(total, kind, getattr(total, kind) + getattr(changes, kind))
    red = Counter(outcome.name for outcome in result.checks if not outcome.passed)
    run.red_checks += [f"{result.collection} {result.partition}: {name}" for name in red if name != "schema_valid"]
    verdict = "failed" if result.error else ", ".join(sorted(red)) or "all passed"
    numbers = (counts.fetched, counts.published, counts.quarantined, counts.deduplicated, counts.skipped)
    table.add_row(result.partition, *map(str, numbers), verdict)


def _keep_failures(run: Run, storage: Storage, result: PartitionResult) -> None:
    if result.error:
        return
    places = (Place(collection=result.collection, stage=stage, partition=result.partition) for stage in STAGES)
    records = (record for place in places for record in read_refused(storage, place.read(storage)))
    for record in records:
        run.summary.failed += 1
        run.keep_failure(record)
