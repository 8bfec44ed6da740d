"""How long-running work reports what it has done."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ProgressCallback", "no_progress"]


class ProgressCallback(Protocol):
    """Called with how many items were handled just now, and how many there are in all, where that is known."""

    def __call__(self, count: int, total: int | None = None, /) -> None:
        """Report."""
        ...


def no_progress(count: int, total: int | None = None, /) -> None:
    """Reports to nobody."""
