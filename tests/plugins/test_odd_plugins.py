"""Plugins that fail in ways their authors did not expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.errors import ItemStepError, OutputError, SourceError
from stac_manager.ingest import FetchFacts, IngestModule, RoutedSource
from stac_manager.item_steps import ItemStep, StepConfig, apply_steps, described_by_steps
from stac_manager.items import Item
from stac_manager.output import Output, OutputFile, OutputResult, PartitionJob
from stac_manager.pipeline import Check, Manifest, StagePartition
from stac_manager.pipeline.stages.collection import require_own_place
from stac_manager.pipeline.sync import rebuild
from stac_manager.quarantine import RejectedItem
from stac_manager.registry import CHECKS, OUTPUTS
from stac_manager.storage import Storage
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

PLACE = StagePartition(collection="c", stage="published", partition="2024-01")


class Step(ItemStep):
    def __init__(self, change: Callable[[Item], Any]) -> None:
        super().__init__(StepConfig())
        self.change = change

    def apply(self, item: Item) -> Item:
        changed: Item = self.change(item)
        return changed

    def apply_to_collection(self, collection: dict[str, Any]) -> dict[str, Any]:
        return self.apply(collection)


def deep(item: Item) -> Item:
    return deep(item)


ODD: dict[str, tuple[Callable[[Item], Any], str]] = {
    "an exception": (lambda item: item["nothing"], "Step: unexpected KeyError: 'nothing'"),
    "endless": (deep, "Step: unexpected RecursionError"),
    "nothing": (lambda item: None, "Step made something that is no item"),
    "another id": (lambda item: {**item, "id": "other"}, "Step changed `id` from 'a' to 'other'"),
    "another collection": (lambda item: {**item, "collection": "d"}, "Step changed `collection` from 'c' to 'd'"),
    "NaN": (lambda item: {**item, "n": [float("nan")]}, "holds NaN or Infinity"),
    "no JSON": (lambda item: {**item, "n": {1, 2}}, "made something that is no JSON"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_item_that_a_step_spoils_is_rejected_as_it_came(name: str) -> None:
    change, message = ODD[name]
    source = make_item("a", "2024-01-01T00:00:00Z")
    (result,) = apply_steps([Step(change)], [make_item("a", "2024-01-01T00:00:00Z")], "extended")
    assert isinstance(result, RejectedItem)
    assert message in result.error_message
    assert (result.item_id, result.step, result.source_data) == ("a", "extended", source)


@pytest.mark.parametrize("change", [lambda one: one["nothing"], lambda one: {"id": "other"}, lambda one: None])
def test_a_collection_that_a_step_spoils_is_an_error_in_one_line(change: Callable[[Any], Any]) -> None:
    with pytest.raises(ItemStepError) as caught:
        described_by_steps([Step(change)], {"id": "c"})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "place", ["published/c/odd/2024-01/a.json", "published/c/2024-01.csv", "pgstac/c/2024-01.deletes.txt"]
)
def test_an_output_may_write_where_its_partition_is_named(place: str) -> None:
    require_own_place("odd", place, PLACE)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "/etc/passwd",
        "../x.json",
        "published/c/../../x/2024-01.csv",
        "published/c/odd/2024-02.csv",
        "published/c/odd/",
        "published/c/",
        "published/",
        "published/d/2024-01.csv",
        "published/catalog.json",
        "published/c/collection.json",
        "stages/c/2024-01/x",
        "quarantine/c/2024-01.ndjson",
    ],
)
def test_an_output_may_not_write_anywhere_else(place: str) -> None:
    with pytest.raises(OutputError, match=r"its places are published/c/"):
        require_own_place("odd", place, PLACE)


class OddOutput(Output):
    name = "odd"

    def __init__(self, make: Callable[[PartitionJob], Any]) -> None:
        self.make = make

    def write(self, job: PartitionJob) -> OutputResult:
        made: OutputResult = self.make(job)
        return made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    items = [make_item(f"i{number}", f"2024-01-{number + 1:02}T00:00:00Z") for number in range(4)]
    with serve(create_app([make_collection()], items)) as url:
        yield Site(url, items, tmp_path, partitions={"end": "2024-01-31"})


def file_and_folder(job: PartitionJob) -> OutputResult:
    path = job.folder / "x"
    path.write_bytes(b"x")
    return OutputResult([OutputFile(f"published/c/odd/2024-01{end}", path, 1, "x") for end in ("", "/x.json")])


OUTPUT_FAULTS: dict[str, Callable[[PartitionJob], Any]] = {
    "a file that is a folder of another": file_and_folder,
    "an exception": lambda job: job.nothing,  # type: ignore[attr-defined]
    "nothing": lambda job: None,
    "a file that is not there": lambda job: OutputResult(
        [OutputFile("published/c/2024-01.x", job.folder / "x", 1, "x")]
    ),
    "a path that is a text": lambda job: OutputResult([OutputFile("published/c/2024-01.x", "x", 1, "x")]),  # type: ignore[arg-type]
    "details that are no JSON": lambda job: OutputResult([], details={"a": object()}),
    "rejected texts": lambda job: OutputResult([], rejected=["i0"]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("fault", OUTPUT_FAULTS)
def test_an_output_that_fails_fails_the_partition_in_one_line_and_changes_nothing(
    site: Site, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run()
    before = {name: data for name, (data, _) in site.files().items() if name.startswith("published/")}
    monkeypatch.setitem(OUTPUTS._loaded, "parquet", OddOutput(OUTPUT_FAULTS[fault]))
    site.items[0]["properties"]["cloud"] = 1
    (result,) = rebuild(Site(site.url, site.items, site.folder, partitions={"end": "2024-01-31"}).chain, ["2024-01"])
    assert result.error is not None
    assert len(str(result.error).splitlines()) == 1
    assert {name: data for name, (data, _) in site.files().items() if name.startswith("published/")} == before


def test_a_check_that_cannot_be_run_has_failed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(storage: Storage, manifest: Manifest) -> Any:
        raise KeyError("nothing")

    monkeypatch.setitem(CHECKS._loaded, "unique_ids", Check("unique_ids", ("raw_items",), "Odd.", broken))
    (result,) = rebuild(site.chain, ["2024-01"])
    assert result.error is None
    (failed,) = [outcome for outcome in result.checks if not outcome.passed]
    assert "the check 'unique_ids' could not be run: unexpected KeyError: 'nothing'" in failed.description


class OddSource:
    host = ""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def collection(self) -> dict[str, Any]:
        return {"id": "c"}

    async def fingerprint(self) -> str:
        return "1"

    async def read(self, sink: Any) -> FetchFacts:
        raise self.error


@pytest.mark.parametrize("error", [KeyError("href"), OSError("peer reset\nsecond line"), ValueError()])
def test_a_source_that_fails_is_a_source_error_in_one_line(error: Exception) -> None:
    source = RoutedSource(OddSource(error))
    with IngestModule(source) as ingest, pytest.raises(SourceError, match=r"^OddSource: ") as caught:
        ingest.fetch()
    assert len(str(caught.value).splitlines()) == 1


def test_an_item_whose_time_a_step_moves_out_of_its_partition_is_rejected(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(item: Item) -> Item:
        if item["id"] == "i0":
            item["properties"]["datetime"] = "2023-01-01T00:00:00Z"
        return item

    site.chain.context.transforms = [Step(move)]  # type: ignore[list-item]
    site.run()
    assert set(site.published()) == {"i1", "i2", "i3"}
    (record,) = site.quarantine()
    assert (record["item_id"], record["error_type"]) == ("i0", "MovedByStep")
