"""Asset checks: their specs, and how their outcomes reach Dagster. The checks are in `stac_manager.pipeline.checks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

# Dagster gives no public name to this class, and without it an evaluation of one partition in a range run clears
# the status of that partition.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from stac_manager.pipeline import CheckOutcome, Stage, checks_of

__all__ = ["check_specs", "log_evaluation", "reasons_table", "report_checks"]


def check_specs(key: dg.AssetKey, stage: Stage, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """The checks of a stage, each partitioned as its asset is."""
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=key,
            description=check.description,
            blocking=check.blocking,
            partitions_def=partitions,
        )
        for check in checks_of(stage)
    ]


def report_checks(
    context: dg.AssetExecutionContext, outcomes: Mapping[str, list[CheckOutcome]]
) -> Iterator[dg.AssetCheckResult]:
    """Report the outcomes of checks, by partition; yield them after the `MaterializeResult` of the same step.

    For a range run, also of a single partition, Dagster records one row for a check and ties it to no partition. So
    the evaluation of each partition is logged separately, and one result sums them up.
    """
    partitions = list(outcomes)
    for name in [outcome.name for outcome in outcomes[partitions[0]]]:
        found = {key: next(o for o in outcomes[key] if o.name == name) for key in partitions}
        yield _result(name, found)
    if "dagster/partition" not in context.run.tags:
        # last, so that the latest evaluation of the check has a partition
        for partition in partitions:
            for outcome in outcomes[partition]:
                log_evaluation(context, partition, outcome)


def _result(name: str, found: Mapping[str, CheckOutcome]) -> dg.AssetCheckResult:
    worst = next((outcome for outcome in found.values() if not outcome.passed), next(iter(found.values())))
    failed = [partition for partition, outcome in found.items() if not outcome.passed]
    if len(found) == 1:
        text, facts = worst.description, metadata_of(worst.facts)
    else:
        text = f"{len(found) - len(failed)} of {len(found)} partitions passed"
        facts = {"failed": dg.MetadataValue.json(failed)}
    return dg.AssetCheckResult(
        check_name=name, passed=not failed, severity=_severity(worst), description=text, metadata=facts
    )


def log_evaluation(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    partition: str,
    outcome: CheckOutcome,
    asset: dg.AssetKey | None = None,
) -> None:
    """Record one check of one partition, tied to that partition's latest materialization.

    `asset` is needed only if the step belongs to another asset.
    """
    key = asset or context.asset_key
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    records = context.instance.fetch_materializations(wanted, limit=1).records
    target = (
        AssetCheckEvaluationTargetMaterializationData(
            storage_id=records[0].storage_id, run_id=records[0].run_id, timestamp=records[0].timestamp
        )
        if records
        else None
    )
    evaluation = dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=outcome.name,
        passed=outcome.passed,
        partition=partition,
        blocking=outcome.blocking,
        severity=_severity(outcome),
        description=outcome.description,
        metadata=metadata_of(outcome.facts),
        target_materialization_data=target,
    )
    context.log_event(evaluation)  # type: ignore[arg-type]  # it works for ops, but is not typed


def _severity(outcome: CheckOutcome) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if outcome.warning else dg.AssetCheckSeverity.ERROR


def metadata_of(facts: Mapping[str, Any]) -> dict[str, dg.MetadataValue[Any]]:
    """A check's facts as Dagster metadata."""
    shown: dict[str, dg.MetadataValue[Any]] = {}
    for name, value in facts.items():
        if name == "top_reasons":
            shown["top reasons"] = reasons_table(value)
        elif name == "report":
            shown["report"] = dg.MetadataValue.path(value)
        elif isinstance(value, list | dict):
            shown[name] = dg.MetadataValue.json(value)
        elif isinstance(value, bool):
            shown[name] = dg.MetadataValue.bool(value)
        elif isinstance(value, int):
            shown[name] = dg.MetadataValue.int(value)
        elif isinstance(value, float):
            shown[name] = dg.MetadataValue.float(value)
        else:
            shown[name] = dg.MetadataValue.text(str(value))
    return shown


def reasons_table(reasons: list[Any]) -> dg.TableMetadataValue:
    """Reasons, each with its number of items, the most frequent first."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord({"reason": str(reason), "items": int(count)}) for reason, count in reasons],
        schema=dg.TableSchema([dg.TableColumn("reason", "string"), dg.TableColumn("items", "int")]),
    )
