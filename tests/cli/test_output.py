"""What `output` tells and writes, and how failures are told by every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stac_manager.cli import run
from stac_manager.files import write_items
from stac_manager.output import read_geoparquet
from tests.stac_items import make_item


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(*items: Any, name: str = "in.ndjson") -> None:
    write_items(name, items)


def ids(path: str) -> list[str]:
    return [item["id"] for item in read_geoparquet(path)]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_success_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    given(make_item("a"), make_item("b"))
    assert run(["output", "--input", "in.ndjson", "--output", "x.parquet"]) == 0
    assert capsys.readouterr().err == "2 items written to x.parquet; 0 failed; 0 duplicates\n"
    assert run(["output", "--input", "in.ndjson", "--output", "y.parquet", "--dry-run"]) == 0
    assert capsys.readouterr().err == "2 items would be written to y.parquet; 0 failed; 0 duplicates\n"


@pytest.mark.parametrize("command", ["output", "transform-metadata", "validate"])
def test_failures_that_are_not_shown_are_counted(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    given(make_item("a"), *({"id": f"bad{number}"} for number in range(13)))
    arguments = [command, "--input", "in.ndjson"]
    arguments += ["--offline"] if command == "validate" else ["--output", "x.parquet"]
    assert run(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("failed bad") for line in lines) == 10
    assert "and 3 more failed; --failed F.ndjson writes all of them" in lines
    if command == "output":
        assert lines[-1] == "1 items written to x.parquet; 13 failed; 0 duplicates"
    assert run([*arguments, "--failed", "f.ndjson"]) == 1
    assert "and 3 more failed; all are in f.ndjson" in capsys.readouterr().err
    assert len(Path("f.ndjson").read_bytes().splitlines()) == 13


def test_ten_failures_are_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    given(*({"id": f"bad{number}"} for number in range(10)))
    assert run(["output", "--input", "in.ndjson", "--output", "x.parquet"]) == 1
    assert "more failed" not in capsys.readouterr().err


@pytest.mark.parametrize("target", ["foo.ndjson", "foo.json", "a/foo.parquet.zst", "foo.v1"])
def test_a_target_with_another_ending_is_wrong_usage(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    given(make_item("a"))
    assert run(["output", "--input", "in.ndjson", "--output", target]) == 2
    error = capsys.readouterr().err
    assert target in error
    assert ".parquet" in error
    assert sorted(path.name for path in Path().iterdir()) == ["in.ndjson"]


@pytest.mark.parametrize("target", ["folder", "new/", "foo.v1/", "there.v1"])
def test_a_folder_is_what_exists_or_ends_in_a_slash_or_has_no_ending(target: str) -> None:
    given(make_item("a"))
    Path("there.v1").mkdir()
    assert run(["output", "--input", "in.ndjson", "--output", target]) == 0
    assert ids(f"{target}/in.parquet") == ["a"]


def test_a_folder_of_item_files_is_read_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("many/below").mkdir(parents=True)
    given(make_item("b"), name="many/1.json")
    given(make_item("a"), make_item("c"), name="many/2.ndjson.zst")
    given(make_item("d"), name="many/below/3.jsonl")
    Path("many/notes.txt").write_text("no items")
    assert run(["output", "--input", "many", "--output", "x.parquet"]) == 0
    assert ids("x.parquet") == ["b", "a", "c", "d"]
    Path("many/4.json").write_text("{")
    assert run(["output", "--input", "many/", "--output", "out"]) == 1
    assert "many/4.json" in capsys.readouterr().err
    assert ids("out/many.parquet") == ["b", "a", "c", "d"]


def test_a_folder_without_item_files_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("none").mkdir()
    assert run(["output", "--input", "none", "--output", "x.parquet"]) == 2
    assert "none: is a folder that holds no file that ends with" in capsys.readouterr().err


def test_a_file_that_is_being_written_in_the_folder_is_not_read() -> None:
    Path("many").mkdir()
    given(make_item("b"), name="many/1.json")
    assert run(["transform-metadata", "--input", "many", "--output", "many/out.ndjson"]) == 0
    assert len(Path("many/out.ndjson").read_bytes().splitlines()) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_an_item_that_comes_twice_is_written_once_as_the_newer_one(
    turned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make_item("a", updated="2024-05-01T00:00:00Z", v=1)
    new = make_item("a", updated="2024-05-01T02:00:00+01:00", v=2)
    pair = (new, old) if turned else (old, new)
    given(make_item("z"), pair[0], make_item("m"), pair[1])
    arguments = ["output", "--input", "in.ndjson", "--output", "x.parquet", "--summary", "s.json"]
    assert run(arguments) == 0
    assert last_line(capsys).endswith(
        "3 items written to x.parquet; 0 failed; 1 duplicates, of which the newest were kept"
    )
    assert ids("x.parquet") == ["z", "a", "m"]
    assert [item["properties"].get("v") for item in read_geoparquet("x.parquet")] == [None, 2, None]
    counts = json.loads(Path("s.json").read_text())
    assert (counts["fetched"], counts["published"], counts["duplicates"]) == (4, 3, 1)


def test_of_two_that_say_no_update_the_choice_is_by_content() -> None:
    first, second = make_item("a", v=1), make_item("a", v=2)
    given(first, second)
    given(second, first, name="turned.ndjson")
    for source in ("in", "turned"):
        assert run(["output", "--input", f"{source}.ndjson", "--output", f"{source}.parquet"]) == 0
    assert Path("in.parquet").read_bytes() == Path("turned.parquet").read_bytes()


def test_one_id_in_two_collections_is_two_items() -> None:
    given(make_item("a"), {**make_item("a"), "collection": "d"})
    assert run(["output", "--input", "in.ndjson", "--output", "x.parquet"]) == 0
    assert ids("x.parquet") == ["a", "a"]


def test_an_empty_id_is_not_told_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    given(make_item(""), {**make_item("x"), "id": None}, {k: v for k, v in make_item("x").items() if k != "id"})
    assert run(["output", "--input", "in.ndjson", "--output", "x.parquet", "--failed", "f.ndjson"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert 'failed "" (empty id): the item has an empty id: `id` is ""' in lines
    assert lines.count("failed (no id): the item `id` is None, not a non-empty string") == 2
    records = [json.loads(line) for line in Path("f.ndjson").read_bytes().splitlines()]
    assert [record["item_id"] for record in records] == ["", None, None]
