"""Two commands at once on the same partitions, of a source that has changed between their starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from stac_manager.config import load_workflow
from stac_manager.pipeline import STAGES, Chain
from stac_manager.pipeline.sync.runs import check_stage
from tests.crash.catalogs import MONTHS, BucketCatalog, Catalog, Source


def check_generation(catalog: Catalog) -> None:
    """What is published is what the manifests name, each stage is made from the one before, and every check passes."""
    chain = Chain.of(load_workflow(catalog.workflow), "c")
    for month in MONTHS:
        for stage in STAGES:
            manifest = chain.stage_partition(stage, month).read(chain.storage)
            assert manifest is not None
            assert all(outcome.passed for outcome in check_stage(chain.storage, manifest) if outcome.blocking)
            for ref in filter(None, (manifest.items, manifest.index, manifest.rejected)):
                assert chain.storage.holds(ref.key, ref.sha256, ref.size), ref
        assert chain.is_up_to_date(month)


@pytest.mark.parametrize("modes", ["full full", "full incremental", "incremental full", "incremental incremental"])
def test_two_runs_at_once_leave_one_generation_and_the_next_one_what_the_source_has(tmp_path: Path, modes: str) -> None:
    check_two_runs(modes, lambda url: Catalog(tmp_path / "one", url))


@pytest.mark.s3
def test_two_runs_at_once_leave_one_generation_in_a_bucket(tmp_path: Path, s3_url: str) -> None:
    check_two_runs("incremental full", lambda url: BucketCatalog(tmp_path / "one", url, s3_url))


def check_two_runs(modes: str, make: Callable[[str], Catalog]) -> None:
    """Start two runs while the source changes; once they have ended, one more makes everything well."""
    first, second = modes.split()
    source, chance = Source(), Random(modes)
    with source.serve() as url:
        catalog = make(url)
        catalog.run("full")
        source.slow = 0.1
        source.change(chance)
        runs = [catalog.start(first)]
        assert runs[0].wait_for_work()
        source.change(chance)
        runs.append(catalog.start(second))
        runs[1].wait_for_work()
        source.change(chance)
        for done in [run.end() for run in runs]:
            assert done.status in (0, 1) or "another run is writing" in done.out, done.out
        check_generation(catalog)
        source.slow = 0.0
        assert catalog.run("incremental").status in (0, 1)
        check_generation(catalog)
        assert {item_id: where for item_id, where in catalog.published().items() if len(where) > 1} == {}
        assert {item_id: where[0][1] for item_id, where in catalog.published().items()} == source.valid()
        assert catalog.leftovers() == []
