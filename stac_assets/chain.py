"""The chain factory: five assets for a collection, one for each stage of the library's chain."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast, get_args

import dagster as dg

from partitions import backfill_policy, partitions_definition
from resources import SchemaStoreResource, SourceResource, StorageResource, open_chain
from stac_assets.checks import check_specs, log_evaluation, report_checks
from stac_assets.metadata import Metadata, changes_metadata, stage_metadata
from stac_assets.names import ALLOW_DELETES, MODE, asset_key, collection_group, pool_name
from stac_manager.config import Workflow
from stac_manager.errors import IncompleteError, SourceError, StacManagerError, UsageError
from stac_manager.pipeline import (
    STAGE_TABLE,
    STAGES,
    Chain,
    CheckOutcome,
    Manifest,
    Mode,
    Stage,
    code_version,
    run_checks,
    source_of,
)

__all__ = ["build_chain"]

_API_FAULTS = dg.RetryPolicy(max_retries=2, delay=20, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def build_chain(workflow: Workflow, collection: str) -> list[dg.AssetsDefinition]:
    """The assets of a collection, in the order of their stages."""
    return [_build_stage(workflow, collection, stage) for stage in STAGES]


def _build_stage(workflow: Workflow, collection: str, stage: Stage) -> dg.AssetsDefinition:
    key = asset_key(workflow, collection, stage)
    number = STAGES.index(stage)
    partitions = partitions_definition(workflow.scheme())
    row = STAGE_TABLE[stage]
    host = source_of(workflow, collection).host if row.reads_source else ""

    @dg.asset(
        key=key,
        deps=[asset_key(workflow, collection, STAGES[number - 1])] if number else [],
        partitions_def=partitions,
        backfill_policy=backfill_policy(workflow),
        check_specs=check_specs(key, stage, partitions),
        code_version=code_version(workflow, stage),
        description=row.description,
        group_name=collection_group(workflow, collection),
        kinds=set(row.kinds),
        owners=list(workflow.workflow.owners),
        pool=pool_name(host) if host else None,
        retry_policy=_API_FAULTS if row.reads_source else None,
    )
    def stage_asset(
        context: dg.AssetExecutionContext,
        storage: StorageResource,
        schemas: SchemaStoreResource,
        source: SourceResource,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        chain = open_chain(workflow, collection, storage, schemas, source)
        done = _run_partitions(context, chain, stage)
        if stage == "published":
            chain.publish_collection()
        for partition, one in done.items():
            context.add_asset_metadata(one.metadata, partition_key=partition)
        yield dg.MaterializeResult(data_version=_data_version(done))
        yield from report_checks(context, {partition: one.checks for partition, one in done.items()})

    return stage_asset


@dataclass(frozen=True)
class _Done:
    """The result of a step for one partition."""

    manifest: Manifest
    metadata: Metadata
    checks: list[CheckOutcome]


def _data_version(done: dict[str, _Done]) -> dg.DataVersion:
    hashes = [one.manifest.content_hash for one in done.values()]
    return dg.DataVersion(hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest())


def _run_partitions(context: dg.AssetExecutionContext, chain: Chain, stage: Stage) -> dict[str, _Done]:
    """Run every partition of this step; a partition that fails does not stop the others."""
    done: dict[str, _Done] = {}
    failed: dict[str, StacManagerError] = {}
    for partition in context.partition_keys:
        try:
            done[partition] = _run_partition(context, chain, stage, partition)
        except StacManagerError as error:
            failed[partition] = error
            context.log.error(f"{partition}: {error}")
            if isinstance(error, IncompleteError):
                log_evaluation(context, partition, CheckOutcome("complete", False, str(error)))
        else:
            context.log.info(f"{partition}: {done[partition].manifest.ledger}")
    if failed:
        _fail(context, done, failed)
    return done


def _run_partition(context: dg.AssetExecutionContext, chain: Chain, stage: Stage, partition: str) -> _Done:
    tags = context.run.tags
    mode = tags.get(MODE, "full")
    if mode not in get_args(Mode):
        raise UsageError(f"the run tag {MODE} is {mode!r}; it may be {', '.join(get_args(Mode))}")
    confirmed = tags.get(ALLOW_DELETES, "").lower() == "true"
    # the lock is held until the checks and metadata have read the files, which another run would replace
    with chain.locked(partition):
        manifest = chain.run(stage, partition, mode=cast(Mode, mode), allow_deletes=confirmed)
        checks = run_checks(chain.storage, manifest)
        metadata = stage_metadata(chain.storage, manifest)
    if stage == "published":
        metadata |= changes_metadata(context.instance, context.asset_key, manifest)
    return _Done(manifest, metadata, checks)


def _fail(context: dg.AssetExecutionContext, done: dict[str, _Done], failed: dict[str, StacManagerError]) -> None:
    for partition, one in done.items():
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=partition, metadata=one.metadata))
    temporary = all(
        isinstance(error, SourceError) and not isinstance(error, IncompleteError) for error in failed.values()
    )
    lines = "; ".join(f"{partition}: {error}" for partition, error in failed.items())
    raise dg.Failure(f"{len(failed)} of {len(failed) + len(done)} partitions failed: {lines}", allow_retries=temporary)
