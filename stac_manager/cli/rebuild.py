"""`stac-manager rebuild-catalog`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from stac_manager.cli.common import Run, console, progress, shared_options
from stac_manager.config import Workflow, load_workflow
from stac_manager.errors import StacManagerError, UsageError
from stac_manager.items import Refusal
from stac_manager.pipeline import Chain, Look, read_refused
from stac_manager.pipeline.manifest import STAGES, Place
from stac_manager.pipeline.rebuild import PartitionResult, rebuild, select, sync
from stac_manager.pipeline.targeted import find_homes, published_in, take_items
from stac_manager.storage import Storage

__all__ = ["rebuild_catalog", "run_work"]


@click.command("rebuild-catalog", no_args_is_help=True)
@click.option("--config", required=True, metavar="WORKFLOW", help="The workflow file.")
@click.option(
    "--mode",
    type=click.Choice(["full", "incremental", "targeted"]),
    default="full",
    show_default=True,
    help="Everything; what changed; or the items, partitions and collections that are named.",
)
@click.option("--collection", "collections", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option("--partition", "partitions", multiple=True, metavar="P", help="Only this one; may be repeated.")
@click.option(
    "--item-id", "item_ids", multiple=True, metavar="ID", help="Only this item, with --mode targeted; may be repeated."
)
@click.option("--allow-deletes", is_flag=True, help="Take over deletions at the source, however many they are.")
@shared_options(dry_run=True)
def rebuild_catalog(
    run: Run,
    config: str,
    mode: str,
    collections: tuple[str, ...],
    partitions: tuple[str, ...],
    item_ids: tuple[str, ...],
    allow_deletes: bool,
) -> None:
    """Run a workflow's stages, on the same files that Dagster uses.

    \b
    Example:
      stac-manager rebuild-catalog --config workflows/earth-search.yaml --mode incremental
      stac-manager rebuild-catalog --config workflows/earth-search.yaml --mode full --partition 2024-06
    """
    _check_usage(mode, bool(collections or partitions or item_ids), bool(item_ids))
    workflow = load_workflow(config)
    chosen = select(workflow, collections, partitions)
    if run.dry_run:
        _tell(workflow, chosen, mode, partitions)
        return
    failed: list[str] = []
    missing = set(item_ids)
    for collection, keys in chosen:
        chain = Chain.of(workflow, collection)
        if item_ids:
            homes = _homes(chain, item_ids, keys)
            missing -= {item_id for found in homes.values() for item_id in found}
            failed += run_work(run, chain, take_items(chain, homes), len(homes))
        elif mode == "incremental":
            failed += run_work(run, chain, sync(chain, partitions or None, allow_deletes=allow_deletes))
            run.summary.unchanged += _passed_over(run, chain, keys)
        else:
            failed += run_work(run, chain, rebuild(chain, keys, allow_deletes=allow_deletes), len(keys))
    for item_id in sorted(missing):
        run.refuse(Refusal(item_id, "NotFound", _not_found(workflow, chosen, item_id), "raw_items", None))
    if failed:
        run.finish()
        raise StacManagerError("\n".join(failed))


def _homes(chain: Chain, item_ids: tuple[str, ...], keys: list[str]) -> dict[str, list[str]]:
    homes = find_homes(chain, item_ids)
    outside = [home for home in homes if home not in keys]
    if outside:
        raise UsageError(f"{homes[outside[0]][0]!r} belongs to {outside[0]}, which is not one of the partitions named")
    return homes


def _not_found(workflow: Workflow, chosen: list[tuple[str, list[str]]], item_id: str) -> str:
    """An id that the source does not have is no deletion: only a complete scan finds those."""
    for collection, _ in chosen:
        if partition := published_in(Chain.of(workflow, collection), item_id):
            return f"the source does not have it; it stays in {collection} {partition} until that partition is run"
    return "the source does not have it"


def _passed_over(run: Run, chain: Chain, keys: list[str]) -> int:
    """Items of the partitions that were found as they should be, and not run."""
    places = (chain.place("published", key) for key in keys if (chain.collection, key) not in run.ran)
    return sum(manifest.ledger.passed for place in places if (manifest := place.read(chain.storage)))


def _check_usage(mode: str, named: bool, items: bool) -> None:
    if items and mode != "targeted":
        raise UsageError("--item-id goes with --mode targeted")
    if mode == "targeted" and not named:
        raise UsageError("--mode targeted needs --item-id, --partition or --collection")


def _tell(workflow: Workflow, chosen: list[tuple[str, list[str]]], mode: str, partitions: tuple[str, ...]) -> None:
    """What would be done."""
    for collection, keys in chosen:
        if mode != "incremental":
            click.echo(f"{collection}: {len(keys)} partitions, {keys[0]} to {keys[-1]}")
            continue
        for finding in Look(Chain.of(workflow, collection), only=partitions or None, dry=True).run():
            click.echo(f"{collection} {finding.partition}: {finding.reason}")


def run_work(run: Run, chain: Chain, work: Iterator[PartitionResult], total: int | None = None) -> list[str]:
    """Run partitions, and show and add up what became of them; gives a line for each that failed."""
    failed = []
    table = Table(*_COLUMNS, title=Text(chain.collection))
    try:
        with progress(chain.collection, total) as advance:
            for result in work:
                advance(1)
                run.ran.add((result.collection, result.partition))
                _add(run, result, table)
                _keep_failures(run, chain.storage, result)
                if result.error:
                    failed.append(f"{chain.collection} {result.partition}: {result.error}")
    except StacManagerError as error:
        if error.exit_code == UsageError.exit_code:
            raise
        failed.append(str(error))
    if table.row_count:
        console.print(table)
    elif not failed:
        console.print(f"{chain.collection}: nothing to do", markup=False)
    return failed


_COLUMNS = ("partition", "fetched", "published", "added", "modified", "deleted", "quarantined", "checks")


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
    numbers = (
        counts.fetched,
        counts.published,
        changes.added,
        changes.modified,
        changes.deleted,
        counts.quarantined,
    )
    table.add_row(result.partition, *map(str, numbers), verdict)


def _keep_failures(run: Run, storage: Storage, result: PartitionResult) -> None:
    if result.error:
        return
    places = (Place(collection=result.collection, stage=stage, partition=result.partition) for stage in STAGES)
    records = (record for place in places for record in read_refused(storage, place.read(storage)))
    for record in records:
        run.summary.failed += 1
        run.keep_failure(record)
