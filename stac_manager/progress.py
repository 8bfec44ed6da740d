"""How long-running work reports its progress."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ProgressCallback", "no_progress"]


class ProgressCallback(Protocol):
    """Called with the number of items just handled, and with the total number if that is known."""

    def __call__(self, count: int, total: int | None = None, /) -> None:
        """Report."""
        ...


def no_progress(count: int, total: int | None = None, /) -> None:
    """Does nothing."""
