"""Dagster's definition of partitions; the windows and names are the same as in `stac_manager.partitioning`."""

from __future__ import annotations

import dagster as dg

from stac_manager.config import Workflow
from stac_manager.partitioning import KEY_FORMATS, PartitionBy, PartitionScheme

__all__ = ["backfill_policy", "partitions_definition"]

_CRON: dict[PartitionBy, str] = {"day": "0 0 * * *", "week": "0 0 * * 1", "month": "0 0 1 * *", "year": "0 0 1 1 *"}

_PER_RUN: dict[PartitionBy, int] = {"day": 30, "week": 8, "month": 1, "year": 1}
"""The number of partitions of one run: long windows have many items, short ones few."""


def partitions_definition(scheme: PartitionScheme) -> dg.TimeWindowPartitionsDefinition:
    """The windows of a scheme, up to and including the present one.

    Without `end_offset=1` the present window would not exist until it is over, and the tick of a sensor that requests
    it would fail.
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
    """How a backfill is split into runs; it is the same for all stages, so that one run has the whole chain."""
    per_run = workflow.partitions.per_run or _PER_RUN[workflow.partitions.by]
    return dg.BackfillPolicy.multi_run(per_run)
