"""`stac-manager rebuild-catalog`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import click
from rich.table import Table
from rich.text import Text

from stac_manager.cli.common import Run, console, progress, shared_options
from stac_manager.config import Workflow
from stac_manager.cores import usable_cores
from stac_manager.errors import StacManagerError, UsageError
from stac_manager.pipeline import Chain, Changes, CheckOutcome, read_rejected, run_check
from stac_manager.pipeline.sync import SyncPlanner
from stac_manager.pipeline.sync.runs import PartitionResult, rebuild, select, sync
from stac_manager.pipeline.sync.targeted import fetch_items_into, locate, published_in
from stac_manager.quarantine import RejectedItem
from stac_manager.storage import Storage

__all__ = ["rebuild_catalog", "run_work"]


@click.command("rebuild-catalog", no_args_is_help=True)
@click.option("--config", required=True, metavar="WORKFLOW", help="The workflow file.")
@click.option(
    "--mode",
    type=click.Choice(["full", "incremental", "targeted"]),
    default="full",
    show_default=True,
    help="Everything; only changes; or only the given items, partitions and collections.",
)
@click.option("--collection", "collections", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option("--partition", "partitions", multiple=True, metavar="P", help="Only this one; may be repeated.")
@click.option(
    "--item-id", "item_ids", multiple=True, metavar="ID", help="Only this item, with --mode targeted; may be repeated."
)
@click.option("--allow-deletes", is_flag=True, help="Apply deletions at the source, however many they are.")
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
    workflow = run.load_workflow(config)
    chosen = select(workflow, collections, partitions)
    if run.dry_run:
        _tell(workflow, chosen, mode, partitions, allow_deletes=allow_deletes)
        return
    failed: list[str] = []
    workers = workflow.processing.workers or usable_cores()
    missing, rejected = set(item_ids), dict[str, RejectedItem]()
    for collection, keys in chosen:
        chain = Chain.of(workflow, collection)
        if item_ids:
            located = locate(chain, item_ids)
            targets = _named(located.targets, keys)
            rejected |= located.rejected
            missing -= {item_id for found in targets.values() for item_id in found}
            failed += run_work(run, chain, fetch_items_into(chain, targets), len(targets))
        elif mode == "incremental":
            planner = SyncPlanner(chain, only=partitions or None, confirmed=allow_deletes)
            work = sync(chain, allow_deletes=allow_deletes, planner=planner, workers=workers)
            with planner.looked_at():
                order = () if workers == 1 else keys[::-1]
                failed += run_work(run, chain, work, told=planner.coverage, order=order)
                others = [key for key in keys if (collection, key) not in run.ran]
                with planner.looked_at():  # again, if partitions were run
                    run.summary.unchanged += _published_items(chain, others)
                    run.failed_checks += [f"{collection} {key}: {why}" for key, why in _waiting(chain, others)]
        else:
            work = rebuild(chain, keys, allow_deletes=allow_deletes, workers=workers)
            failed += run_work(run, chain, work, len(keys), order=keys)
    for item_id in sorted(missing):
        unknown = RejectedItem(item_id, "NotFound", "the source does not have it", "raw_items", None)
        run.reject(_with_place(workflow, chosen, rejected.get(item_id, unknown), item_id))
    if failed:
        run.finish()
        raise StacManagerError("\n".join(failed))


def _named(targets: dict[str, list[str]], keys: list[str]) -> dict[str, list[str]]:
    outside = [target for target in targets if target not in keys]
    if outside:
        raise UsageError(
            f"{targets[outside[0]][0]!r} belongs to {outside[0]}, which is not one of the given partitions"
        )
    return targets


def _with_place(
    workflow: Workflow, chosen: list[tuple[str, list[str]]], rejection: RejectedItem, item_id: str
) -> RejectedItem:
    """Add where the item is still published: a failed fetch is no deletion, because only complete scans find those."""
    for collection, _ in chosen:
        if partition := published_in(Chain.of(workflow, collection), item_id):
            stays = f"; it stays in {collection} {partition} until that partition is run"
            return replace(rejection, error_message=rejection.error_message + stays)
    return rejection


def _published_items(chain: Chain, partitions: list[str]) -> int:
    """The number of items in partitions that were up to date and did not run."""
    manifests = (chain.stage_partition("published", key).read(chain.storage) for key in partitions)
    return sum(manifest.ledger.passed for manifest in manifests if manifest)


def _check_usage(mode: str, named: bool, items: bool) -> None:
    if items and mode != "targeted":
        raise UsageError("--item-id goes with --mode targeted")
    if mode == "targeted" and not named:
        raise UsageError("--mode targeted needs --item-id, --partition or --collection")


def _tell(
    workflow: Workflow,
    chosen: list[tuple[str, list[str]]],
    mode: str,
    partitions: tuple[str, ...],
    *,
    allow_deletes: bool,
) -> None:
    """Show what would be done."""
    for collection, keys in chosen:
        if mode != "incremental":
            click.echo(f"{collection}: {len(keys)} partitions, {keys[0]} to {keys[-1]}")
            continue
        chain = Chain.of(workflow, collection)
        planner = SyncPlanner(chain, only=partitions or None, dry=True, confirmed=allow_deletes)
        stale_partitions = planner.plan()
        for stale in stale_partitions:
            click.echo(f"{collection} {stale.partition}: {stale.reason}")
        click.echo(f"{collection}: {'' if stale_partitions else 'nothing to do; '}{planner.coverage()}")
        if not allow_deletes:
            for key, why in _waiting(chain, keys):
                click.echo(f"{collection} {key}: {why}")


def _waiting(chain: Chain, keys: list[str]) -> Iterator[tuple[str, str]]:
    """The partitions with pending deletions, each with the outcome of the check."""
    for key in keys:
        if manifest := chain.raw.pending_manifest(key):
            yield key, _red(run_check("deletions", chain.storage, manifest))


def _red(outcome: CheckOutcome) -> str:
    return f"{outcome.name}: {outcome.description}"


def run_work(
    run: Run,
    chain: Chain,
    work: Iterator[PartitionResult],
    total: int | None = None,
    told: Callable[[], object] | None = None,
    order: Sequence[str] = (),
) -> list[str]:
    """Run partitions, show and add up their results; returns a line for each failed partition.

    Args:
        run: of the command.
        chain: of the collection.
        work: the results, as the partitions run.
        total: the number of partitions, if it is known.
        told: returns a text for the last line.
        order: of the partitions in the table; others follow as they came.
    """
    failed = []
    results: dict[str, PartitionResult] = {}
    try:
        with progress(chain.collection, total) as advance:
            for result in work:
                advance(1)
                run.ran.add((result.collection, result.partition))
                results[result.partition] = _joined(results.get(result.partition), result)
                if result.error:
                    failed.append(f"{chain.collection} {result.partition}: {result.error}")
    except StacManagerError as error:
        if error.exit_code == UsageError.exit_code:
            raise
        failed.append(str(error))
    table = Table(*_COLUMNS, title=Text(chain.collection))
    places = {partition: place for place, partition in enumerate(order)}
    for result in sorted(results.values(), key=lambda one: places.get(one.partition, len(places))):
        _add(run, result, table)
        _keep_failures(run, chain.storage, result)
    if table.row_count:
        console.print(table)
    lines = [] if table.row_count or failed else ["nothing to do"]
    lines += [str(told())] if told and not failed else []
    if lines:
        console.print(f"{chain.collection}: {'; '.join(lines)}", markup=False)
    return failed


def _joined(earlier: PartitionResult | None, result: PartitionResult) -> PartitionResult:
    """The results of two runs of a partition, as one."""
    if earlier:
        kinds = ("added", "modified", "deleted")
        both = {kind: getattr(result.changes, kind) + getattr(earlier.changes, kind) for kind in kinds}
        met_again = earlier.changes.added + earlier.changes.modified
        unchanged = max(0, result.changes.unchanged - met_again)
        result.changes = Changes(**both, unchanged=unchanged)
    return result


_COLUMNS = ("partition", "fetched", "published", "added", "modified", "deleted", "quarantined", "checks")


def _add(run: Run, result: PartitionResult, table: Table) -> None:
    counts, changes, total = result.counts, result.changes, run.summary
    total.fetched += counts.fetched
    total.published += counts.published
    total.skipped += counts.skipped
    total.duplicates += counts.deduplicated
    for kind in ("added", "modified", "deleted", "unchanged"):
        setattr(total, kind, getattr(total, kind) + getattr(changes, kind))
    red = {outcome.name: outcome for outcome in result.checks if not outcome.passed}
    for name, outcome in red.items():
        lines = run.warned_checks if name == "schema_valid" else run.failed_checks
        lines.append(f"{result.collection} {result.partition}: {_red(outcome)}")
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
    records = (record for manifest in result.manifests.values() for record in read_rejected(storage, manifest))
    for record in records:
        run.summary.failed += 1
        run.keep_failure(record)
