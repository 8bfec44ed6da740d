"""Number columns of one type in all files of a collection, because readers take the types of the first file for all.

The manifest of each published partition says which of its columns hold integers only, which hold floats, and which
integers were written as double. A small file for the collection has the columns that hold floats in any partition,
where there are any. It is a hint: it may lack what a partition has just brought, or still have what is gone, until the
collection is published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any

import orjson

from stac_manager.items import loads
from stac_manager.output import NumberTypes
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.paths import collection_lock, number_types_key
from stac_manager.storage import Storage

__all__ = ["add_doubles", "has_stale_numbers", "number_details", "read_doubles", "settle_doubles"]

_DETAIL = "number_types"


def number_details(numbers: NumberTypes) -> dict[str, Any]:
    """The number columns of a partition as a member of its manifest's details."""
    return {_DETAIL: {name: list(paths) for name, paths in asdict(numbers).items()}}


def read_doubles(storage: Storage, collection: str) -> frozenset[str]:
    """The columns that hold floats in any partition, as far as is known; a damaged file tells nothing.

    Raises:
        StorageError: the file cannot be read.
    """
    data = storage.get(number_types_key(collection))
    try:
        document = loads(data) if data else {}
    except ValueError:
        return frozenset()
    paths = document.get("double") if isinstance(document, dict) else None
    return frozenset(path for path in paths if isinstance(path, str)) if isinstance(paths, list) else frozenset()


def add_doubles(storage: Storage, collection: str, paths: Collection[str]) -> None:
    """Add columns that a partition brings.

    Raises:
        StorageError: the file cannot be read or written.
    """
    if read_doubles(storage, collection).issuperset(paths):
        return
    with storage.lock(collection_lock(collection)):
        _put(storage, collection, read_doubles(storage, collection).union(paths))


def settle_doubles(storage: Storage, collection: str, published: Iterable[Manifest]) -> list[str]:
    """Make the file exact, from the manifests of all published partitions. The caller holds the collection.

    Returns:
        The partitions whose file has other number types than it should have.

    Raises:
        StorageError: the file cannot be written.
    """
    manifests = list(published)
    found = (_recorded(manifest) for manifest in manifests)
    doubles = frozenset(path for numbers in found if numbers for path in numbers.double)
    _put(storage, collection, doubles)
    return [manifest.partition for manifest in manifests if has_stale_numbers(manifest, doubles)]


def has_stale_numbers(manifest: Manifest, doubles: Collection[str]) -> bool:
    """Whether a published partition has integers where it should have doubles, or the other way round."""
    numbers = _recorded(manifest)
    return numbers is None or numbers.widened != tuple(path for path in numbers.integer if path in doubles)


def _recorded(manifest: Manifest) -> NumberTypes | None:
    """None for a manifest that was written before this was recorded."""
    detail = manifest.details.get(_DETAIL)
    if not isinstance(detail, dict):
        return None
    lists = [detail.get(name) for name in ("integer", "double", "widened")]
    if not all(isinstance(paths, list) and all(isinstance(path, str) for path in paths) for paths in lists):
        return None
    return NumberTypes(*(tuple(paths or ()) for paths in lists))


def _put(storage: Storage, collection: str, doubles: Collection[str]) -> None:
    key = number_types_key(collection)
    data = orjson.dumps({"version": 1, "double": sorted(doubles)}, option=orjson.OPT_INDENT_2) + b"\n"
    before = storage.get(key)
    storage.remove_orphans(key)
    if not doubles and before is not None:
        storage.delete(key)
    elif doubles and before != data:
        storage.put(key, data)
