"""Keeping a collection up to date: what is stale, what moved, what was deleted, and the runs that mend it."""

from __future__ import annotations

__all__: list[str] = []
