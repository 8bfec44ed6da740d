"""Items from a STAC API: search requests, page parser, window scan, window probe, `updated` filter, fetch by ids."""

from __future__ import annotations

__all__: list[str] = []
