"""The filters of a search beside collection and time: those of the workflow, and one on `updated`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from stac_manager.ingest.protocol import Since
from stac_manager.times import format_rfc3339

FilterLanguage = Literal["cql2", "query"]
"""How a condition on a property is written: by the Filter extension of STAC API, or by its Query extension."""

__all__ = ["FilterLanguage", "SearchFilter", "asked_instant"]


@dataclass(frozen=True)
class SearchFilter:
    """The filters of a search beside collection and time, in the terms of STAC API Item Search."""

    bbox: tuple[float, ...] | None = None
    intersects: Mapping[str, Any] | None = None
    """A GeoJSON geometry."""
    cql2: Mapping[str, Any] | None = None
    """CQL2 JSON (STAC API, Filter extension)."""
    query: Mapping[str, Any] | None = None
    """STAC API, Query extension."""

    def body(self) -> dict[str, Any]:
        """The members of a POST body."""
        members = {"bbox": self.bbox, "intersects": self.intersects, "query": self.query, "filter": self.cql2}
        body: dict[str, Any] = {name: value for name, value in members.items() if value is not None}
        return {**body, "filter-lang": "cql2-json"} if self.cql2 is not None else body

    def params(self) -> dict[str, str]:
        """The parameters of a GET request."""
        params = {
            name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            for name, value in self.body().items()
        }
        return {**params, "bbox": ",".join(f"{number:.12g}" for number in self.bbox)} if self.bbox else params

    def languages(self, declared: frozenset[str]) -> list[FilterLanguage]:
        """The languages, best first, in which a condition on `updated` can be combined with these filters."""
        if self.cql2 is not None:
            possible: list[FilterLanguage] = ["cql2"]
        elif self.query is None:
            possible = ["cql2", "query"]
        else:
            possible = ["cql2"] if {"updated", "properties.updated"} & self.query.keys() else ["query"]
        return [language for language in possible if language in declared]

    def since(self, since: Since) -> SearchFilter:
        """These filters plus `updated` at or after an instant; items of up to two seconds earlier may come too."""
        time = format_rfc3339(asked_instant(since.instant))
        if since.updated_filter == "query":
            return replace(self, query={**(self.query or {}), "updated": {"gte": time}})
        # a plain text, because pgstac answers {"timestamp": …} with status 500
        condition = {"op": ">=", "args": [{"property": "updated"}, time]}
        return replace(self, cql2=condition if self.cql2 is None else {"op": "and", "args": [self.cql2, condition]})


def asked_instant(instant: datetime) -> datetime:
    """The whole second before; earlier also for servers that compare texts: `00:00:00.5Z` sorts before `00:00:00Z`."""
    floor = instant.replace(microsecond=0)
    return floor - timedelta(seconds=1) if floor.year > 1 else floor
