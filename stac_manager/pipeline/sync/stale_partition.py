"""What a sync check finds: a partition that is not up to date, and the run that brings it up to date."""

from __future__ import annotations

from dataclasses import dataclass

from stac_manager.pipeline.stages.protocol import Mode

__all__ = ["RANKS", "StalePartition"]

RANKS: dict[Mode, int] = {"resume": 0, "changes": 1, "scan": 2}
"""The more a run does, the higher."""


@dataclass(frozen=True)
class StalePartition:
    """A partition that is not up to date."""

    partition: str
    mode: Mode
    """The mode of the run that brings it up to date."""
    reason: str
    """One line for a person."""
