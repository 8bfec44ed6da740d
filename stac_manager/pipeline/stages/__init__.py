"""The stages of a chain, each in its own file."""

from __future__ import annotations

__all__: list[str] = []
