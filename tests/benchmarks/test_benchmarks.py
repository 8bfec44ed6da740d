from itertools import pairwise
from types import SimpleNamespace

import orjson
import pytest

from benchmarks import items, processes, report
from benchmarks.processes import Runner
from benchmarks.server import Store


@pytest.mark.parametrize("kind", items.KINDS)
def test_items_beyond_the_pool_have_ids_and_times_of_their_own(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(items, "POOL", 7)
    lines = items.Lines(20, 10, kind)
    made = [orjson.loads(line) for line in lines]
    assert [item["id"] for item in made] == [lines.item_id(number) for number in range(20)]
    assert len({item["id"] for item in made}) == 20
    times = [item["properties"]["datetime"] for item in made]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert all(item["properties"]["updated"] > item["properties"]["datetime"] for item in made)


@pytest.mark.parametrize("kind", items.KINDS)
async def test_a_changed_item_has_the_same_fields_as_before(kind: str) -> None:
    request = SimpleNamespace(query={"step": "2", "share": "1"})
    store = Store(items.Lines(10, 10, kind), 0)
    before = [orjson.loads(store.line(number)) for number in range(10)]
    await store.change(request)  # type: ignore[arg-type]
    after = [orjson.loads(store.line(number)) for number in range(10)]
    assert [one != other for one, other in zip(before, after, strict=True)] == [True, False] * 5
    for one, other in zip(before, after, strict=True):
        assert one.keys() == other.keys()
        assert one["properties"].keys() == other["properties"].keys()
        for name, asset in one["assets"].items():
            assert asset.keys() == other["assets"][name].keys()


def test_a_contender_that_fails_gives_its_answer_and_does_not_stop_the_benchmark() -> None:
    result = Runner().run("start", "/nowhere/at/all/tool")
    assert result == {"error": "FileNotFoundError: [Errno 2] No such file or directory: '…/tool'"}
    [*_, line] = report._table(("", "seconds"), [report._failed({"name": "tool", **result}, 2)])
    assert line == f"| tool | failed: {result['error']} |"


def test_short_runs_are_repeated_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([3.0, 1.0, 2.0])

    def contend(*_: object) -> processes.Result:
        seconds = next(taken)
        return {"seconds": seconds, "process_s": seconds, "cpu_s": seconds, "memory_mb": 10 * seconds, "made": 1}

    monkeypatch.setattr(processes, "_contend", contend)
    result = Runner(repeat=3).run("start")
    assert (result["seconds"], result["least_s"], result["most_s"], result["runs"]) == (2.0, 1.0, 3.0, 3)
    assert result["memory_mb"] == 30
