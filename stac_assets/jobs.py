"""The jobs of a collection: rebuild it, fetch named items or partitions, and replay its quarantine."""

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import dagster as dg

# Dagster gives no public name to the tags that the runs of assets carry
from dagster._core.definitions.data_version import get_input_data_version_tag, get_input_event_pointer_tag
from pydantic import Field

from resources import SchemaStoreResource, SourceResource, StorageResource, open_chain
from stac_assets.checks import log_evaluation, reasons_table
from stac_assets.metadata import Metadata, changes_metadata, stage_metadata
from stac_assets.names import asset_key, rebuild_job_name, replay_job_name, targeted_job_name
from stac_manager.config import Workflow
from stac_manager.errors import UsageError
from stac_manager.pipeline import STAGES, Chain, Manifest, code_version, quarantine_reasons
from stac_manager.pipeline.sync.runs import PartitionResult, rebuild, select
from stac_manager.pipeline.sync.targeted import Located, fetch_items_into, locate, replay

if TYPE_CHECKING:
    # what `define_asset_job` returns has no public name
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["build_rebuild_job", "build_replay_job", "build_targeted_job"]


Event = dg.AssetMaterialization | dg.Output[None]


class Targets(dg.Config):
    """What to fetch again: items by their ids, or partitions."""

    item_ids: list[str] = Field(default=[], description="Ids of items to fetch and merge.")
    partitions: list[str] = Field(default=[], description="Partitions to rebuild in full.")
    allow_deletes: bool = Field(default=False, description="Apply deletions, however many they are.")


class Quarantine(dg.Config):
    """Which quarantine to replay."""

    partitions: list[str] = Field(default=[], description="Only these partitions; all if empty.")


def build_rebuild_job(workflow: Workflow, collection: str) -> "UnresolvedAssetJobDefinition":
    """The job that rebuilds a collection: a partition, a range, or all of it as a backfill."""
    return dg.define_asset_job(
        rebuild_job_name(workflow, collection),
        selection=dg.AssetSelection.assets(*(asset_key(workflow, collection, stage) for stage in STAGES)),
        description=f"Fetch, validate and publish {collection} again; for many partitions, launch a backfill.",
    )


def build_targeted_job(workflow: Workflow, collection: str) -> dg.JobDefinition:
    """The job that fetches single items or partitions, named in its config."""
    name = targeted_job_name(workflow, collection)

    @dg.op(name=f"{name}_op", description="Fetch the items or partitions of the config, and run all stages for them.")
    def fetch(
        context: dg.OpExecutionContext,
        config: Targets,
        storage: StorageResource,
        schemas: SchemaStoreResource,
        source: SourceResource,
    ) -> Iterator[Event]:
        chain = open_chain(workflow, collection, storage, schemas, source)
        if not config.item_ids and not config.partitions:
            raise dg.Failure("name item_ids or partitions in the config", allow_retries=False)
        if config.partitions:
            keys = _chosen(workflow, collection, config.partitions)
            yield from _report(context, chain, rebuild(chain, keys, allow_deletes=config.allow_deletes))
        if config.item_ids:
            located = locate(chain, config.item_ids)
            yield from _report(context, chain, fetch_items_into(chain, located.targets))
            _require_all(config.item_ids, located)
        yield dg.Output(None)

    @dg.job(name=name, description=f"Fetch single items or partitions of {collection} again; name them in the config.")
    def targeted() -> None:
        fetch()

    return targeted


def _require_all(item_ids: list[str], located: Located) -> None:
    """Fail with the ids of the items that could not be fetched, and the reasons."""
    missing = sorted(set(item_ids).difference(*located.targets.values()))
    lines = [
        f"{item_id!r}: {located.rejected[item_id].error_message}" for item_id in missing if item_id in located.rejected
    ]
    unknown = [repr(item_id) for item_id in missing if item_id not in located.rejected]
    if unknown:
        lines.append(f"the source does not have {', '.join(unknown)}")
    if lines:
        raise dg.Failure("; ".join(lines), allow_retries=False)


def _chosen(workflow: Workflow, collection: str, partitions: list[str]) -> list[str]:
    try:
        ((_, keys),) = select(workflow, [collection], partitions)
    except UsageError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    return keys


def build_replay_job(workflow: Workflow, collection: str) -> dg.JobDefinition:
    """The job that replays a collection's quarantine, after a fix."""
    name = replay_job_name(workflow, collection)

    @dg.op(name=f"{name}_op", description="Process rejected items again; publish those that pass now.")
    def retry(
        context: dg.OpExecutionContext,
        config: Quarantine,
        storage: StorageResource,
        schemas: SchemaStoreResource,
        source: SourceResource,
    ) -> Iterator[Event]:
        chain = open_chain(workflow, collection, storage, schemas, source)
        keys = _chosen(workflow, collection, config.partitions)
        results = yield from _report(context, chain, replay(chain, keys))
        reasons = [
            (f"{result.partition} {step}: {message}", count)
            for result in results
            for (step, _, message), count in quarantine_reasons(chain.storage, collection, result.partition).items()
        ]
        yield dg.Output(
            None,
            metadata={
                "partitions": len(results),
                "published now": sum(result.changes.added + result.changes.modified for result in results),
                "still in quarantine": sum(count for _, count in reasons),
                "reasons": reasons_table(sorted(reasons, key=lambda reason: -reason[1])[:50]),
            },
        )

    @dg.job(name=name, description=f"Replay the quarantine of {collection}, after a fix.")
    def replayed() -> None:
        retry()

    return replayed


def _report(
    context: dg.OpExecutionContext, chain: Chain, results: Iterable[PartitionResult]
) -> Generator[Event, None, list[PartitionResult]]:
    """Run the partitions, and report materializations and checks to Dagster, as the assets' own runs do."""
    done = []
    for result in results:
        done.append(result)
        if result.error:
            context.log.error(f"{result.partition}: {result.error}")
        with chain.locked(result.partition):
            shown = [_metadata(context.instance, chain, manifest) for manifest in result.manifests.values()]
        upstream: dict[str, str] = {}
        for manifest, metadata in zip(result.manifests.values(), shown, strict=True):
            made = _materialization(chain, manifest, metadata, upstream)
            yield made
            upstream = _provenance(context.instance, made, manifest)
        for stage, outcomes in result.outcomes.items():
            key = asset_key(chain.workflow, chain.collection, stage)
            for outcome in outcomes:
                log_evaluation(context, result.partition, outcome, key)
    failed = [f"{result.partition}: {result.error}" for result in done if result.error]
    if failed:
        raise dg.Failure("; ".join(failed), allow_retries=False)
    return done


def _metadata(instance: dg.DagsterInstance, chain: Chain, manifest: Manifest) -> Metadata:
    shown = stage_metadata(chain.storage, manifest)
    if manifest.stage == "published":
        shown |= changes_metadata(instance, asset_key(chain.workflow, chain.collection, manifest.stage), manifest)
    return shown


def _materialization(
    chain: Chain, manifest: Manifest, metadata: Metadata, upstream: dict[str, str]
) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key(chain.workflow, chain.collection, manifest.stage),
        partition=manifest.partition,
        metadata=metadata,
        tags={
            "dagster/data_version": manifest.content_hash,
            "dagster/code_version": code_version(chain.workflow, manifest.stage),
            **upstream,
        },
    )


def _provenance(instance: dg.DagsterInstance, made: dg.AssetMaterialization, manifest: Manifest) -> dict[str, str]:
    """The tags with which Dagster knows the input of the next stage; without them, the stage would look stale."""
    wanted = dg.AssetRecordsFilter(asset_key=made.asset_key, asset_partitions=[manifest.partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    tags = {get_input_data_version_tag(made.asset_key): manifest.content_hash}
    if records:
        tags[get_input_event_pointer_tag(made.asset_key)] = str(records[0].storage_id)
    return tags
