"""The documents above the partitions: `collection.json` and `catalog.json`, made from the published partitions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from stac_manager.config import Workflow
from stac_manager.errors import OutputError
from stac_manager.item_steps import described_by_steps
from stac_manager.items import loads, safe_name
from stac_manager.output import Output, PartitionSummary, build_catalog, build_collection
from stac_manager.pipeline.stages.builders import extensions_of, outputs_of, transforms_of
from stac_manager.pipeline.state.contracts import settle_contract
from stac_manager.pipeline.state.manifest import Manifest, Stage, StagePartition
from stac_manager.pipeline.state.manifest_cache import fetch_manifests, store_manifests
from stac_manager.pipeline.state.marks import remove_marks_of_version_1
from stac_manager.pipeline.state.paths import (
    CATALOG_KEY,
    catalog_lock,
    collection_key,
    collection_lock,
    dirty_marks_folder,
    partition_folders,
    partition_lock,
    quarantine_key,
    source_collection_key,
    state_folder,
    sync_key,
)
from stac_manager.pipeline.state.stage_files import finished_partitions, read_manifest
from stac_manager.plugin_errors import plugin_errors
from stac_manager.storage import Storage

__all__ = [
    "collection_totals",
    "described_collection",
    "publish_catalog",
    "publish_collection",
    "published_keys",
    "source_collection",
]

log = logging.getLogger(__name__)

_NOTHING: Mapping[str, bytes] = {}


def source_collection(storage: Storage, collection: str) -> dict[str, Any]:
    """The STAC Collection as the source last served it; only an id if it was never fetched."""
    document = storage.get_seen(source_collection_key(collection))
    found: dict[str, Any] = loads(document) if document else {"id": collection}
    return found


def publish_collection(storage: Storage, workflow: Workflow, collection: str) -> list[str]:
    """Write a collection's `collection.json` from all its partitions, and the catalog above it.

    Returns:
        The partitions whose files do not agree with those of the others, and must be published again.

    Raises:
        StorageError: a manifest or the file cannot be read or written.
    """
    stale: list[str] = []
    dirty_marks: list[str] = []
    written: dict[str, bytes] = {}
    lock = collection_lock(collection)

    def document(_: bytes | None) -> bytes:
        nonlocal stale, dirty_marks
        with storage.listed(*_folders(collection), root=state_folder(collection), fresh=True):
            dirty_marks = _marks_of_finished_runs(storage, collection)
            remove_marks_of_version_1(storage, collection)
            _retire(storage, workflow, collection)
            published = _published(storage, collection)
            settled = (settle_contract(storage, collection, output, published) for output in outputs_of(workflow))
            stale = sorted({partition for partitions in settled for partition in partitions})
            described = described_collection(storage, workflow, collection)
            written[collection] = _encoded(_collection_document(described, published))
            return written[collection]

    with storage.local_lock(lock):
        for key in (source_collection_key(collection), sync_key(collection)):
            storage.remove_orphans(key)
        storage.update(collection_key(collection), document, lock, is_new=storage.was_empty(state_folder(collection)))
        publish_catalog(storage, workflow, written)
        storage.delete(*dirty_marks)
    store_manifests(storage, collection)
    return stale


def _marks_of_finished_runs(storage: Storage, collection: str) -> list[str]:
    """The marks of published partitions, but for those that a run is writing: its manifest may not be there yet.

    Call it before the manifests are read.
    """
    locks = {
        key: partition_lock(collection, key.rpartition("/")[2]) for key in storage.list(dirty_marks_folder(collection))
    }
    locked = storage.locked_among(locks.values())
    return [key for key, lock in locks.items() if lock not in locked]


def _folders(collection: str) -> list[str]:
    """What the publication of a collection looks at."""
    names = ("published", "raw_items", "dirty", "arrivals", "unlisted")
    return [f"{state_folder(collection)}/{name}" for name in names]


def _retire(storage: Storage, workflow: Workflow, collection: str) -> None:
    """Remove partitions that the workflow no longer has; otherwise their items would be published twice."""
    scheme = workflow.scheme()
    stages: tuple[Stage, ...] = ("raw_items", "published")
    there = {place.partition for stage in stages for place in finished_partitions(storage, collection, stage)}
    for partition in sorted(one for one in there if not scheme.may_have(one)):
        log.warning("%s %s: the workflow no longer has this partition; it is removed", collection, partition)
        place = StagePartition(collection=collection, stage="published", partition=partition)
        published = published_keys(storage, place, read_manifest(storage, place), outputs_of(workflow))
        private = [key for folder in partition_folders(collection, partition) for key in storage.list(folder)]
        storage.delete(*sorted(published), quarantine_key(collection, partition), *private)


def published_keys(
    storage: Storage,
    stage_partition: StagePartition,
    manifest: Manifest | None,
    outputs: Sequence[Output],
    *,
    other_than: Collection[str] = (),
) -> set[str]:
    """The published files of a partition: those of its manifest, and those at the outputs' locations.

    Keys in `other_than` are left out, and are not looked for.
    """
    keys = {file.key for file in manifest.files} if manifest else set[str]()
    for output in outputs:
        with plugin_errors(OutputError, f"the locations of the output {output.name!r}"):
            places = tuple(output.locations(stage_partition.collection, stage_partition.partition))
        for place in places:
            require_own_place(output.name, place, stage_partition)
            if place.endswith("/"):
                keys.update(storage.list(place.rstrip("/")))
            elif place not in other_than and storage.size(place) is not None:
                keys.add(place)
    return keys.difference(other_than)


def require_own_place(output: str, place: str, stage_partition: StagePartition) -> None:
    """An output writes below the folders of its collection, in files or folders that are named by the partition.

    Raises:
        OutputError: the place may be another partition's, or somebody else's.
    """
    collection, partition = safe_name(stage_partition.collection), stage_partition.partition
    top, *rest = place.rstrip("/").split("/")
    inside = top in ("published", "pgstac") and rest[:1] == [collection] and not {"", ".", ".."} & set(rest)
    if not inside or not any(name.partition(".")[0] == partition for name in rest[1:]):
        raise OutputError(
            f"the output {output!r} would use {place!r}; its places are published/{collection}/…/{partition}/… "
            f"or published/{collection}/…/{partition}.<ending>"
        )


def _published(storage: Storage, collection: str) -> list[Manifest]:
    places = finished_partitions(storage, collection, "published")
    fetch_manifests(storage, collection, [place.manifest_key for place in places])
    return [manifest for place in places if (manifest := place.read(storage))]


def _collection_document(collection: dict[str, Any], manifests: list[Manifest]) -> dict[str, Any]:
    summaries = {m.partition: PartitionSummary.from_dict(m.details["summary"]) for m in manifests if m.files}
    return build_collection(collection, summaries, assets=_assets(manifests))


def _assets(manifests: list[Manifest]) -> dict[str, Any]:
    """The published files that have a title, as assets: `items-2024-01`, and with the format for other formats."""
    assets: dict[str, Any] = {}
    for manifest in sorted(manifests, key=lambda one: one.partition):
        folder = f"published/{safe_name(manifest.collection)}/"
        for file in manifest.files:
            if file.title is None or not file.key.startswith(folder):
                continue
            name = "items" if file.output == "parquet" else file.output
            assets[f"{name}-{manifest.partition}"] = {
                "href": f"./{file.key.removeprefix(folder)}",
                "type": file.media_type,
                "title": file.title,
                "roles": list(file.roles),
            }
    return assets


def described_collection(storage: Storage, workflow: Workflow, collection: str) -> dict[str, Any]:
    """The STAC Collection as the source last served it, after the workflow's transforms and extensions."""
    steps = [*transforms_of(workflow), *extensions_of(workflow)]
    return described_by_steps(steps, source_collection(storage, collection))


def publish_catalog(storage: Storage, workflow: Workflow, written: Mapping[str, bytes] = _NOTHING) -> dict[str, Any]:
    """Write `published/catalog.json` with the workflow's published collections.

    `written` has the documents of collections that the caller has just written, so that they are not read again.
    """
    head = workflow.workflow
    document: dict[str, Any] = {}

    def catalog(_: bytes | None) -> bytes:
        nonlocal document
        found = [written.get(one) or storage.get(collection_key(one)) for one in workflow.collections]
        document = build_catalog(head.name, head.description or head.name, [loads(data) for data in found if data])
        return _encoded(document)

    is_new = all(storage.was_empty(state_folder(collection)) for collection in workflow.collections)
    storage.update(CATALOG_KEY, catalog, catalog_lock(), is_new=is_new)
    return document


def collection_totals(storage: Storage, workflow: Workflow) -> list[dict[str, str | int]]:
    """For each collection of a workflow: the numbers of published partitions and items, and their time range."""
    totals: list[dict[str, str | int]] = []
    for collection in workflow.collections:
        manifests = [manifest for manifest in _published(storage, collection) if manifest.files]
        keys = sorted(manifest.partition for manifest in manifests)
        totals.append(
            {
                "collection": collection,
                "partitions": len(keys),
                "items": sum(manifest.ledger.passed for manifest in manifests),
                "first": keys[0] if keys else "",
                "last": keys[-1] if keys else "",
            }
        )
    return totals


def _encoded(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
