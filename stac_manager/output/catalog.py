"""The published `catalog.json` and `collection.json`: dictionaries in, dictionaries out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from stac_manager.items import safe_name
from stac_manager.output.summary import PartitionSummary

__all__ = ["PartitionSummary", "build_catalog", "build_collection"]

_VERSION = "1.1.0"
_VERSIONS = ("1.0.0", _VERSION)
_WORLD = [-180, -90, 180, 90]
_KEPT_LINKS = frozenset(
    {
        "about",
        "author",
        "cite-as",
        "derived_from",
        "describedby",
        "documentation",
        "handbook",
        "help",
        "icon",
        "latest-version",
        "license",
        "predecessor-version",
        "preview",
        "related",
        "service-doc",
        "successor-version",
        "via",
    }
)
"""Links of the source that are valid in a copy; the others lead through the source's own catalog or API."""


def build_collection(
    source_collection: Mapping[str, Any],
    summaries: Mapping[str, PartitionSummary],
    *,
    assets: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The published collection: the source's, with extent, summaries, links and assets of the published items.

    `summaries` has an entry for each partition; `assets` are those of the published files, with hrefs relative to
    `collection.json`. Without any item, the source's extent and summaries stay. STAC versions other than 1.0.0 and
    1.1.0 become 1.1.0, with the members that it requires.

    Source: STAC collection specification; stac-geoparquet specification, "Referencing a STAC Geoparquet Collections in
    a STAC Collection JSON".
    """
    collection = {**source_collection, "type": "Collection"}
    if collection.get("stac_version") not in _VERSIONS:
        _modernize(collection)
    base = _self_href(source_collection)
    total = PartitionSummary().merge(summaries.values())
    collection["extent"] = _extent(source_collection.get("extent"), total)
    if total.rows:
        collection.pop("summaries", None)
        if total.summaries:
            collection["summaries"] = total.summaries
    collection["links"] = _links(source_collection.get("links"), base)
    collection.pop("assets", None)
    named = _absolute_assets(source_collection.get("assets"), base) | dict(assets)
    if named:
        collection["assets"] = named
    return collection


def build_catalog(workflow_name: str, description: str, collections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The root catalog, with one child link for each collection, in the order given.

    Source: STAC catalog specification 1.1.0.
    """
    links: list[dict[str, Any]] = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
    for collection in collections:
        href = f"./{safe_name(collection['id'])}/collection.json"
        title = {"title": collection["title"]} if collection.get("title") else {}
        links.append({"rel": "child", "href": href, "type": "application/json", **title})
    return {
        "type": "Catalog",
        "stac_version": _VERSION,
        "id": workflow_name,
        "description": description or workflow_name,
        "links": links,
    }


def _modernize(collection: dict[str, Any]) -> None:
    """Set what 1.1.0 requires and remove what it does not allow; it allows only extensions with a schema URI."""
    extensions = collection.get("stac_extensions")
    named = extensions if isinstance(extensions, list) else []
    collection |= {
        "stac_version": _VERSION,
        "stac_extensions": [name for name in named if isinstance(name, str) and _is_absolute(name)],
        "description": collection.get("description") or collection["id"],
        "license": collection.get("license") or "other",
    }
    collection.pop("summaries", None)


def _extent(extent: Any, total: PartitionSummary) -> dict[str, Any]:
    """The extent of the items, or else the source's; extents of STAC 0.7 are plain lists."""
    known = extent if isinstance(extent, dict) else {}
    spatial = {"bbox": [total.bbox]} if total.bbox else known.get("spatial", _WORLD)
    temporal = {"interval": [total.interval]} if total.interval else known.get("temporal", [None, None])
    return {
        **known,
        "spatial": {"bbox": [spatial]} if isinstance(spatial, list) else spatial,
        "temporal": {"interval": [temporal]} if isinstance(temporal, list) else temporal,
    }


def _self_href(collection: Mapping[str, Any]) -> str | None:
    links = collection.get("links")
    for link in links if isinstance(links, list) else []:
        if link.get("rel") == "self" and _is_absolute(link.get("href")):
            return str(link["href"])
    return None


def _is_absolute(href: Any) -> bool:
    return isinstance(href, str) and urlsplit(href).scheme in ("http", "https", "s3", "gs", "abfs", "az")


def _resolved(href: Any, base: str | None) -> str | None:
    """The absolute form of an href of the source, or None: a relative one would be broken here."""
    if _is_absolute(href):
        return str(href)
    return urljoin(base, href) if base and isinstance(href, str) and href else None


def _links(source_links: Any, base: str | None) -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = [
        {"rel": "root", "href": "../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
    ]
    for link in source_links if isinstance(source_links, list) else []:
        href = _resolved(link.get("href"), base)
        if link.get("rel") in _KEPT_LINKS and href:
            links.append({**link, "href": href})
    if base and not any(link["rel"] == "via" and link["href"] == base for link in links):
        links.append({"rel": "via", "href": base, "type": "application/json"})
    return links


def _absolute_assets(assets: Any, base: str | None) -> dict[str, Any]:
    found = assets.items() if isinstance(assets, dict) else ()
    resolved = {key: {**asset, "href": _resolved(asset.get("href"), base)} for key, asset in found}
    return {key: asset for key, asset in resolved.items() if asset["href"]}
