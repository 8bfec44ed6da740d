"""The stages of a chain, each in a file of its own."""

from __future__ import annotations

__all__: list[str] = []
