"""The requests that ask a STAC API for items of one collection, by whatever ways it offers."""

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

_SLIM = (
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
    """Builds the requests; every one of them asks for items that pass the filters."""

    api: StacApi
    collection: str
    filter: SearchFilter

    def __call__(
        self,
        window: Window | None,
        limit: int,
        *,
        order: Order | None = None,
        slim: bool = False,
        ids: Sequence[str] = (),
    ) -> SearchRequest:
        """The first page of a search.

        Args:
            window: asked for as a closed interval; None asks for all times.
            limit: items a page.
            order: left out where the API does not declare to sort.
            slim: only what a fetch must know of an item, where the API declares to leave out the rest.
            ids: only these; needs item-search.
        """
        interval = window.interval if window else None
        time = {} if interval is None else {"datetime": interval}
        if self.api.search_url is None:
            return self._features(time, limit)
        order = order if self.api.sortable else None
        slim = slim and self.api.fields
        if "POST" in self.api.search_methods:
            return self._post(self.api.search_url, time, limit, order, slim, ids)
        params = {"collections": self.collection, **time, "limit": str(limit), **self.filter.params()}
        if order:
            params["sortby"] = "-properties.updated" if order == "newest" else "properties.updated"
        if slim:
            params["fields"] = ",".join([*_SLIM, *(f"-{name}" for name in _LEFT_OUT)])
        if ids:
            params["ids"] = ",".join(ids)
        return SearchRequest("GET", self.api.search_url, params)

    def _post(
        self, url: str, time: dict[str, str], limit: int, order: Order | None, slim: bool, ids: Sequence[str]
    ) -> SearchRequest:
        body: dict[str, Any] = {"collections": [self.collection], **time, "limit": limit, **self.filter.body()}
        if order:
            body["sortby"] = [{"field": "properties.updated", "direction": "desc" if order == "newest" else "asc"}]
        if slim:
            body["fields"] = {"include": list(_SLIM), "exclude": list(_LEFT_OUT)}
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
