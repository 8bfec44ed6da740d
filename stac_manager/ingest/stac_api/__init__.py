"""Items from a STAC API: search requests, page parsing, window scans, fetches by id."""

from __future__ import annotations

__all__: list[str] = []
