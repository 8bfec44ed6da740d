"""A catalog that an earlier version made: it is made anew, and until then it guards what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from demo.server import create_app, serve
from stac_manager.errors import StorageError
from stac_manager.pipeline import STAGES
from stac_manager.pipeline.changes.deletions import read_pending_deletions
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

NAMES = {
    "matched": "claimed",
    "pending_deletions": "held",
    "pending_deletion_ids": "held_ids",
    "retained_until_moved": "staying",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A month of twenty items as version 1 stored it; one is invalid, and three await approval of their deletion."""
    items = [make_item(f"i{n:02}", f"2024-01-{n + 1:02}T10:00:00Z") for n in range(20)]
    items[5]["assets"] = []
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path, partitions={"end": "2024-01-31"})
        site.run()
        gone, items[:] = items[:3], items[3:]
        site.run()
        items[:0] = gone
        as_version_1(site)
        yield site


def as_version_1(site: Site) -> None:
    """Put the manifests into the names of version 1."""
    storage = site.chain.storage
    for stage in STAGES:
        key = site.chain.stage_partition(stage, "2024-01").manifest_key
        document = orjson.loads(storage.get(key) or b"")
        files = document.pop("files")
        document |= {"version": 1, "refused": document.pop("rejected"), "code_version": "1-0123456789abcdef"}
        document["details"] = {NAMES.get(name, name): value for name, value in document["details"].items()}
        if files:
            known = ("key", "sha256", "size", "lines")
            document["items"] = {name: files[0][name] for name in known}
            document["details"] |= document["details"].pop("outputs")["parquet"]
        storage.put(key, orjson.dumps(document))
    storage.put("stages/c/raw_items/2024-01/moved", b"")
    storage.put("stages/c/unlisted/2024-01", b"")
    storage.put(
        "stages/c/sync.json",
        orjson.dumps({"made_for": "2-x", "language": "query", "watermark": "2030-01-01T00:00:00Z"}),
    )


def test_what_an_earlier_version_made_is_read(site: Site) -> None:
    manifests = {stage: site.chain.stage_partition(stage, "2024-01").read(site.chain.storage) for stage in STAGES}
    raw, published = manifests["raw_items"], manifests["published"]
    assert raw is not None
    assert published is not None
    assert read_pending_deletions(site.chain.storage, raw) == {"i00", "i01", "i02"}
    assert [file.output for file in published.files] == ["parquet"]
    assert manifests["validated"] is not None
    assert manifests["validated"].rejected is not None


def test_it_is_made_anew_by_the_next_sync(site: Site) -> None:
    assert not site.chain.is_up_to_date("2024-01")
    assert list(site.sync()) == ["2024-01"]
    assert site.chain.is_up_to_date("2024-01")
    assert set(site.published()) == {item["id"] for item in site.items} - {"i05"}
    assert {record["item_id"] for record in site.quarantine()} == {"i05"}
    left = [
        key
        for key in site.chain.storage.list("stages/c")
        if "refused" in key or key.endswith(("/moved", "unlisted/2024-01"))
    ]
    assert left == []
    assert site.sync() == {}


def test_deletions_since_await_approval_as_ever(site: Site) -> None:
    del site.items[:]
    site.sync()
    assert len(site.published()) == 19
    site.sync(allow_deletes=True)
    assert site.published() == {}


def test_a_later_version_is_not_touched(site: Site) -> None:
    key = site.chain.stage_partition("raw_items", "2024-01").manifest_key
    site.chain.storage.put(key, orjson.dumps({"version": 3}))
    with pytest.raises(StorageError, match="was written by a later version of stac-manager; use that version"):
        site.run()
