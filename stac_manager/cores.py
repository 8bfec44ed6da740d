"""How many processor cores this process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["usable_cores"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The limit of a container, as `<microseconds of CPU time> <in so many microseconds>`, or `max …` without a limit."""


def usable_cores(quota: Path = _QUOTA) -> int:
    """The cores that this process may run on; in a container with a CPU limit, as many as that allows, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        time, period = quota.read_text().split()
        cores = min(cores, -(-int(time) // int(period)))
    return max(1, cores)
