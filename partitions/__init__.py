"""Dagster's side of partitions: the definition that names the same windows as `stac_manager.partitioning` does."""

from __future__ import annotations

import dagster as dg

from stac_manager.config import Workflow
from stac_manager.partitioning import KEY_FORMATS, PartitionBy, PartitionScheme

__all__ = ["backfill_policy", "partitions_definition"]

_CRON: dict[PartitionBy, str] = {"day": "0 0 * * *", "week": "0 0 * * 1", "month": "0 0 1 * *", "year": "0 0 1 1 *"}

_PER_RUN: dict[PartitionBy, int] = {"day": 30, "week": 8, "month": 1, "year": 1}
"""How many partitions one run takes: long windows hold much, short ones little."""


def partitions_definition(scheme: PartitionScheme) -> dg.TimeWindowPartitionsDefinition:
    """The windows of a scheme, up to and with the present one.

    Without `end_offset=1` the window of the present would not exist until it is over, and a sensor that asks for it
    would lose its whole tick.
    """
    return dg.TimeWindowPartitionsDefinition(
        start=scheme.first,
        end=scheme.window(scheme.key_of(scheme.end)).end if scheme.end else None,
        fmt=KEY_FORMATS[scheme.by],
        cron_schedule=_CRON[scheme.by],
        timezone="UTC",
        end_offset=1,
    )


def backfill_policy(workflow: Workflow) -> dg.BackfillPolicy:
    """How a backfill is cut into runs; the same for the whole chain, so that a run goes from end to end."""
    per_run = workflow.partitions.per_run or _PER_RUN[workflow.partitions.by]
    return dg.BackfillPolicy.multi_run(per_run)
