"""What no run takes away unasked, whatever has happened to the files and to the workflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.errors import IncompleteError
from stac_manager.pipeline import STAGES, Stage, run_check
from stac_manager.pipeline.sync.runs import rebuild
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A month of twenty items."""
    items = [make_item(f"i{n:02}", f"2024-01-{n + 1:02}T10:00:00Z") for n in range(20)]
    with serve(create_app([make_collection()], items)) as url:
        site = Site(url, items, tmp_path)
        site.run()
        yield site


def changed(site: Site, **source: Any) -> Site:
    return Site(site.url, site.items, site.folder, source=source)


def damage_manifest(site: Site, stage: Stage) -> None:
    site.chain.storage.put(site.chain.stage_partition(stage, "2024-01").manifest_key, b"")


@pytest.mark.parametrize("left", [0, 17])
def test_much_that_is_gone_when_the_first_stage_is_damaged_too_is_a_failure(site: Site, left: int) -> None:
    damage_manifest(site, "raw_items")
    del site.items[left:]
    with pytest.raises(IncompleteError, match=f"{20 - left} of 20 items are gone at the source.*--allow-deletes"):
        site.run()
    assert len(site.published()) == 20
    (result,) = rebuild(site.chain, ["2024-01"], allow_deletes=True)
    assert result.error is None
    assert len(site.published()) == left


def test_little_that_is_gone_goes_also_when_the_first_stage_is_damaged(site: Site) -> None:
    damage_manifest(site, "raw_items")
    del site.items[18:]
    site.run()
    assert len(site.published()) == 18


@pytest.mark.parametrize("damaged", range(1, len(STAGES)))
def test_any_later_stage_tells_what_was_there(site: Site, damaged: int) -> None:
    for stage in STAGES[:damaged]:
        damage_manifest(site, stage)
    site.items.clear()
    with pytest.raises(IncompleteError, match="20 of 20 items are gone"):
        site.run()


def test_another_source_takes_nothing_away_unasked(site: Site) -> None:
    with serve(create_app([make_collection()], [])) as empty:
        other = changed(site, catalog_url=empty)
        other.sync()
        assert len(other.published()) == 20
        raw = other.chain.raw.reusable_manifest("2024-01")
        assert raw is not None
        assert not run_check("deletions", other.chain.storage, raw).passed
        list(rebuild(other.chain, ["2024-01"], allow_deletes=True))
        assert other.published() == {}


def test_a_filter_that_leaves_some_takes_the_others_away(site: Site) -> None:
    narrow = changed(site, filters={"temporal": {"start_date": "2024-01-15T00:00:00Z"}})
    narrow.sync()
    assert len(narrow.published()) == 6


def test_a_filter_that_leaves_nothing_takes_nothing_away_unasked(site: Site) -> None:
    wrong = changed(site, filters={"spatial": {"bbox": [100, -50, 101, -49]}})
    wrong.sync()
    assert len(wrong.published()) == 20
    list(rebuild(wrong.chain, ["2024-01"], allow_deletes=True))
    assert wrong.published() == {}


def test_a_count_that_is_behind_is_told_and_is_no_failure(site: Site) -> None:
    raw = site.chain.raw.reusable_manifest("2024-01")
    assert raw is not None
    behind = raw.model_copy(update={"details": {**raw.details, "matched": 15}, "ledger": raw.ledger})
    outcome = run_check("complete", site.chain.storage, behind)
    assert outcome.passed
    assert "20 items were received, more than the source counts (15)" in outcome.description
    ahead = raw.model_copy(update={"details": {**raw.details, "matched": 25}})
    assert not run_check("complete", site.chain.storage, ahead).passed


def test_more_missing_items_than_the_source_is_asked_for_await_approval(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stac_manager.pipeline.changes import deletions

    monkeypatch.setattr(deletions, "_MAX_IDS_ASKED", 1)
    tolerant = Site(site.url, site.items, site.folder, sync={"delete_threshold": 0.9})
    del site.items[18:]
    tolerant.run()
    assert len(site.published()) == 20
    (result,) = rebuild(tolerant.chain, ["2024-01"], allow_deletes=True)
    assert result.error is None
    assert len(site.published()) == 18
