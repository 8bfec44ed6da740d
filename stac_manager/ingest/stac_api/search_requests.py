"""The requests for items of one collection, in the ways that the STAC API offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from stac_manager.discovery import StacApi
from stac_manager.errors import UsageError
from stac_manager.http import public_url
from stac_manager.ingest.stac_api.paging import SearchRequest
from stac_manager.ingest.stac_api.search_filter import SearchFilter
from stac_manager.times import Window

__all__ = ["Order", "SearchRequests"]

Order = Literal["newest", "oldest"]
"""By `updated`, the latest or the earliest first."""

_MINIMAL_FIELDS = (
    "id",
    "collection",
    "properties.datetime",
    "properties.start_datetime",
    "properties.end_datetime",
    "properties.updated",
)
_LEFT_OUT = ("assets", "bbox", "geometry", "links")


@dataclass(frozen=True)
class SearchRequests:
    """Builds the requests; every search has the filters."""

    api: StacApi
    collection: str
    filter: SearchFilter

    def __call__(
        self,
        window: Window | None,
        limit: int,
        *,
        order: Order | None = None,
        minimal: bool = False,
        ids: Sequence[str] = (),
    ) -> SearchRequest:
        """The first page of a search.

        Args:
            window: requested as a closed interval; None: all times.
            limit: items a page.
            order: ignored if the API does not declare the Sort extension.
            minimal: only the fields that a fetch needs; ignored if the API does not declare the Fields extension.
            ids: only items with these ids; needs item-search.
        """
        interval = window.interval if window else None
        time = {} if interval is None else {"datetime": interval}
        if self.api.search_url is None:
            return self._features(time, limit)
        order = order if self.api.sortable else None
        minimal = minimal and self.api.fields
        if "POST" in self.api.search_methods:
            return self._post(self.api.search_url, time, limit, order, minimal, ids)
        params = {"collections": self.collection, **time, "limit": str(limit), **self.filter.params()}
        if order:
            params["sortby"] = "-properties.updated" if order == "newest" else "properties.updated"
        if minimal:
            params["fields"] = ",".join([*_MINIMAL_FIELDS, *(f"-{name}" for name in _LEFT_OUT)])
        if ids:
            params["ids"] = ",".join(ids)
        return SearchRequest("GET", self.api.search_url, params)

    def _post(
        self, url: str, time: dict[str, str], limit: int, order: Order | None, minimal: bool, ids: Sequence[str]
    ) -> SearchRequest:
        body: dict[str, Any] = {"collections": [self.collection], **time, "limit": limit, **self.filter.body()}
        if order:
            body["sortby"] = [{"field": "properties.updated", "direction": "desc" if order == "newest" else "asc"}]
        if minimal:
            body["fields"] = {"include": list(_MINIMAL_FIELDS), "exclude": list(_LEFT_OUT)}
        if ids:
            body["ids"] = list(ids)
        return SearchRequest("POST", url, body=body)

    def _features(self, time: dict[str, str], limit: int) -> SearchRequest:
        if any((self.filter.intersects, self.filter.cql2, self.filter.query)):
            place = public_url(self.api.url)
            raise UsageError(f"{place} has no item-search, so items can be filtered by time and bbox only")
        params = {**time, "limit": str(limit), **self.filter.params()}
        return SearchRequest("GET", self.api.items_url(self.collection), params)

    def item(self, item_id: str) -> SearchRequest:
        """One item, whether it passes the filters or not."""
        return SearchRequest("GET", f"{self.api.items_url(self.collection)}/{quote(item_id, safe='')}")

    @property
    def separates_ids(self) -> bool:
        """Whether ids go as a list, and not as one text in which a comma separates them."""
        return "POST" in self.api.search_methods
