"""How many processes run partitions, and what goes from one to another."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.server import create_app, serve
from stac_manager.cores import usable_cores
from stac_manager.errors import StorageError, UsageError
from stac_manager.ingest import RoutedSource
from stac_manager.pipeline import Chain
from stac_manager.pipeline.state.sync_state import ScannedPartition
from stac_manager.pipeline.sync import SyncPlanner, worker_pool
from stac_manager.pipeline.sync.partition_run import PartitionResult, PartitionRun, run_partition
from stac_manager.pipeline.sync.runs import rebuild, sync
from stac_manager.pipeline.sync.worker_pool import worker_count
from stac_manager.storage import Storage
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item
from tests.workflows import make_workflow

MONTHS = ["2024-01", "2024-02", "2024-03"]
RUNS = [PartitionRun(month, "full") for month in MONTHS]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    items = [
        make_item(f"i{month}-{day}", f"{month}-0{day}T10:00:00Z", updated="2024-06-01T00:00:00Z")
        for month in MONTHS
        for day in (1, 2)
    ]
    with serve(create_app([make_collection()], items)) as url:
        yield Site(url, items, tmp_path, sync={"overlap_minutes": 1, "latest_windows": 1})


def test_there_are_no_more_workers_than_partitions_and_requests_at_once(tmp_path: Path) -> None:
    def count(runs: list[PartitionRun], wanted: int, concurrency: int) -> int:
        workflow = make_workflow(tmp_path, "http://127.0.0.1:9", processing={"concurrency": concurrency})
        return worker_count(Chain.of(workflow, "c"), runs, wanted)

    assert [count(RUNS, wanted, 5) for wanted in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert count(RUNS[:1], 4, 5) == count([], 4, 5) == 1
    assert count(RUNS, 4, 2) == 2


def test_files_in_memory_and_a_source_that_is_read_once_have_one_worker(tmp_path: Path) -> None:
    workflow = make_workflow(tmp_path, "http://127.0.0.1:9")
    routed = Chain.of(workflow, "c")
    routed.source = RoutedSource(routed.source)  # type: ignore[arg-type]
    in_memory = Chain.of(workflow, "c")
    in_memory.storage = Storage("memory://")
    assert worker_count(Chain.of(workflow, "c"), RUNS, 2) == 2
    assert worker_count(routed, RUNS, 2) == worker_count(in_memory, RUNS, 2) == 1


def test_small_rebuilds_start_no_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "HEAD_START", 600.0)
    monkeypatch.setattr(worker_pool, "WorkerHandle", None)
    results = list(rebuild(site.chain, MONTHS, workers=3))
    assert [(result.partition, result.error, result.counts.published) for result in results] == [
        (month, None, 2) for month in MONTHS
    ]


def test_a_process_that_cannot_be_started_is_no_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_pool, "HEAD_START", 0.0)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    results = list(rebuild(site.chain, MONTHS, workers=2))
    assert [(result.partition, result.error) for result in results] == [(month, None) for month in MONTHS]
    assert "a worker process cannot be started: " in caplog.text


def test_progress_of_other_processes_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "HEAD_START", 0.0)
    told: dict[str, int] = {}
    began = []

    def on_progress(partition: str, stage: str, count: int) -> None:
        if stage == "raw_items":
            told[partition] = told.get(partition, 0) + count

    # while the first result is waited for, this process does not go on
    for result in rebuild(site.chain, MONTHS, on_progress, workers=2):
        began.append(result.partition)
        if len(began) == 1:
            _wait_for_a_result_of_another_process(told)
    assert sorted(began) == MONTHS
    assert set(told) == set(MONTHS)


def _wait_for_a_result_of_another_process(told: dict[str, int]) -> None:
    end = time.monotonic() + 60
    while len(told) < 3:
        assert time.monotonic() < end, "no other process has told anything"
        time.sleep(0.01)


def test_what_a_run_raises_ends_the_others_and_is_raised(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "HEAD_START", 0.0)
    monkeypatch.setattr(worker_pool, "run_partition", _raising)
    with pytest.raises(UsageError, match="of this process"):
        list(rebuild(site.chain, MONTHS, workers=2))


def _raising(*arguments: object) -> PartitionResult:
    raise UsageError("of this process")


def test_a_result_can_be_sent_to_another_process(site: Site) -> None:
    result = run_partition(site.chain, "2024-01", RUNS[0].with_chain(site.chain, None), None)
    failed = PartitionResult("c", "2024-02", error=StorageError("no room"))
    for one in (result, failed):
        restored = pickle.loads(pickle.dumps(one))
        assert (restored.manifests, restored.outcomes, restored.counts) == (one.manifests, one.outcomes, one.counts)
        assert (type(restored.error), str(restored.error)) == (type(one.error), str(one.error))
    assert result.error is None


def test_another_process_merges_the_fetched_changes(site: Site) -> None:
    site.sync()
    site.sync()
    site.items.append(make_item("new", "2024-03-09T00:00:00Z", updated="2024-06-02T00:00:00Z"))
    chain, other = Chain.of(site.workflow, "c"), Chain.of(site.workflow, "c")
    with ExitStack() as stack:
        planner = SyncPlanner(chain)
        (stale,) = planner.plan(keep=stack)
        assert (stale.partition, stale.mode) == ("2024-03", "changes")
        assert planner.feed is not None
        feed = pickle.loads(pickle.dumps(planner.feed.detached()))
        other.source = None  # type: ignore[assignment] - it is not asked
        other.raw._collection = {"id": "c", **_without_id(site)}
        result = run_partition(other, "2024-03", PartitionRun("2024-03", "changes").with_chain(other, feed), None)
    assert result.error is None
    assert (result.changes.added, result.changes.unchanged) == (1, 2)
    assert "new" in site.published("2024-03")


def _without_id(site: Site) -> dict[str, object]:
    return {name: value for name, value in site.chain.raw._collection.items() if name != "id"}


def test_scanned_partitions_are_written_together(site: Site) -> None:
    state = site.chain.sync_state
    with state.collecting():
        for month in MONTHS:
            state.scanned(month, None)
        assert set(state.load().compared_at) == set(MONTHS)
        assert Chain.of(site.workflow, "c").sync_state.load().compared_at == {}
    assert set(state.load().compared_at) == set(MONTHS)


def test_another_process_passes_scanned_partitions_on(site: Site) -> None:
    told: list[ScannedPartition] = []
    site.chain.sync_state.pass_on = told.append
    run_partition(site.chain, "2024-01", RUNS[0].with_chain(site.chain, None), None)
    state = Chain.of(site.workflow, "c").sync_state
    assert state.load().compared_at == {}
    assert state.load().full_compare_newest is not None
    state.note_scanned(pickle.loads(pickle.dumps(told[0])))
    assert state.load().compared_at == {"2024-01": told[0].at}
    assert state.load().full_compare_left == MONTHS[1:]


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("150000 100000", 2), ("10000 100000", 1), ("", None)]
)
def test_a_containers_limit_counts(tmp_path: Path, text: str, cores: int | None) -> None:
    unlimited = usable_cores(tmp_path / "missing")
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path / "cpu.max") == min(unlimited, cores or unlimited)


def test_changes_that_a_check_has_fetched_reach_other_processes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "HEAD_START", 0.0)
    monkeypatch.setattr(worker_pool, "_WORTH", 0)
    list(rebuild(site.chain, MONTHS))
    assert list(sync(Chain.of(site.workflow, "c"))) == []
    for item in site.items:
        item["properties"].update(cloud=7, updated="2024-07-01T00:00:00Z")
    results = list(sync(Chain.of(site.workflow, "c"), workers=2))
    assert {(result.partition, result.error, result.changes.modified) for result in results} == {
        (month, None, 2) for month in MONTHS
    }
