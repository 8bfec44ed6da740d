"""The schemas that apply to a STAC object, by its type, version and extensions."""

from __future__ import annotations

import re
from typing import Any, Literal

__all__ = ["Kind", "core_schema", "extension_schema", "kind_of", "web_address"]

Kind = Literal["item", "collection", "catalog"]

_KINDS: dict[Any, Kind] = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}
_BEFORE_RC1 = re.compile(r"0\.|1\.0\.0-(alpha|beta)\.")
_WITH_SHORT_NAMES = re.compile(r"0\.|1\.0\.0-((alpha|beta)\.|rc\.1\Z)")
_ON_A_TAG = re.compile(r"0\.|1\.0\.0-(alpha\.|beta\.1\Z)")
_SHORT_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_TAGS = "https://raw.githubusercontent.com/radiantearth/stac-spec"
_SITE = "https://schemas.stacspec.org"


def web_address(text: str) -> bool:
    """Whether this is an http or https URL."""
    return text.lower().startswith(("http://", "https://"))


def kind_of(item: dict[str, Any], version: str) -> Kind | None:
    """The kind of a STAC object, or None.

    Before 1.0.0-rc.1 collections and catalogs had no `type`; they are distinguished as in stac-validator.
    """
    stac_type = item.get("type")
    if stac_type is None and "type" not in item and _BEFORE_RC1.match(version):
        return "collection" if "extent" in item or "license" in item else "catalog"
    return _KINDS.get(stac_type) if isinstance(stac_type, str) else None


def core_schema(version: str, kind: Kind) -> str:
    """The URL of the core schema of a version. Before 1.0.0-beta.2 only the tags of stac-spec have it."""
    root = _TAGS if _ON_A_TAG.match(version) else _SITE
    return f"{root}/v{version}/{kind}-spec/json-schema/{kind}.json"


def extension_schema(version: str, name: str) -> str:
    """The URL of an extension's schema: `name` itself, or for a short name such as `eo` its URL up to 1.0.0-rc.1.

    An unknown name is returned unchanged; no store has a schema of that name.
    """
    if web_address(name):
        return name.partition("#")[0]
    if not _WITH_SHORT_NAMES.match(version) or not _SHORT_NAME.match(name):
        return name
    name = "projection" if name == "proj" else name
    flat = version.startswith(("0.6.", "0.7.")) or (version.startswith("0.8.") and name == "label")
    root = _TAGS if _ON_A_TAG.match(version) else _SITE
    return f"{root}/v{version}/extensions/{name}/{'' if flat else 'json-schema/'}schema.json"
