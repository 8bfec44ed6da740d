from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from demo.server import create_app, serve
from stac_manager.cli import cli, run
from stac_manager.files import read_lines, write_items
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow


@pytest.fixture
def items() -> list[dict[str, Any]]:
    return [make_item(f"i{number:02}", f"2024-01-{number + 1:02}T00:00:00Z") for number in range(20)]


@pytest.fixture
def url(items: list[dict[str, Any]]) -> Iterator[str]:
    collections = [make_collection(), {**make_collection("other"), "providers": [{"name": "Somebody Else"}]}]
    with serve(create_app(collections, items)) as url:
        yield url


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in read_lines(path)]


def test_discover_lists_what_fits_as_table_json_and_csv(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["discover-collections", "--catalog-url", url]
    assert run([*common, "--collection-id", "oth*"]) == 0
    table = capsys.readouterr().out
    assert "other" in table
    assert "1 collections" in table
    assert run([*common, "--provider", "somebody", "--format", "json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ["other"]
    assert run([*common, "--format", "csv"]) == 0
    assert [row["id"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["c", "other"]


def test_discover_writes_a_file(url: str, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    assert run(["discover-collections", "--catalog-url", url, "--format", "json", "--output", str(target)]) == 0
    assert len(json.loads(target.read_text())) == 2


@pytest.mark.parametrize("name", ["x.ndjson", "x.ndjson.zst", "x.json", "x.parquet"])
def test_fetch_writes_every_item_in_every_form(url: str, tmp_path: Path, name: str) -> None:
    target, summary = tmp_path / name, tmp_path / "summary.json"
    arguments = ["fetch-items", "--catalog-url", url, "--collection-id", "c", "--page-size", "3"]
    assert run([*arguments, "--output", str(target), "--summary", str(summary)]) == 0
    if name.endswith("parquet"):
        ids = pq.read_table(target).column("id").to_pylist()
    elif name.endswith(".json"):
        ids = [item["id"] for item in json.loads(target.read_text())["features"]]
    else:
        ids = [item["id"] for item in lines(target)]
    assert ids == [f"i{number:02}" for number in range(20)]
    counts = json.loads(summary.read_text())
    assert (counts["fetched"], counts["published"], counts["failed"]) == (20, 20, 0)
    assert counts["duration_s"] >= 0


def test_fetch_takes_time_place_and_limit(url: str, tmp_path: Path) -> None:
    arguments = ["fetch-items", "--catalog-url", url, "--collection-id", "c", "--output", str(tmp_path / "x.ndjson")]
    for more, count in (
        (["--datetime", "2024-01-05/2024-01-09"], 5),
        (["--datetime", "2024-01-15T00:00:00Z/.."], 6),
        (["--bbox", "-10,40,5,50"], 0),
        (["--bbox", "7,46,8,47"], 20),
        (["--limit", "7", "--page-size", "4"], 7),
    ):
        assert run([*arguments, *more]) == 0
        assert len(lines(tmp_path / "x.ndjson")) == count, more


def test_a_dry_run_writes_nothing(url: str, tmp_path: Path) -> None:
    target = tmp_path / "x.ndjson"
    assert run(["fetch-items", "--catalog-url", url, "--collection-id", "c", "--dry-run", "--output", str(target)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_fetch_tells_what_failed_and_exits_with_1(url: str, items: list[dict[str, Any]], tmp_path: Path) -> None:
    items[4]["properties"]["cloud"] = float("nan")
    failed, target = tmp_path / "failed.ndjson", tmp_path / "x.ndjson"
    arguments = ["fetch-items", "--catalog-url", url, "--collection-id", "c", "--output", str(target)]
    assert run([*arguments, "--failed", str(failed)]) == 1
    assert len(lines(target)) == 19
    (record,) = lines(failed)
    assert record["item_id"] == "i04"
    assert record["error_context"]["timestamp"]


def test_a_source_that_is_gone_is_one_line_and_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "x.ndjson"
    arguments = ["fetch-items", "--collection-id", "c", "--output", str(target)]
    assert run([*arguments, "--catalog-url", "http://127.0.0.1:9/"]) == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: http://127.0.0.1:9/: cannot get the landing page: ")
    assert not target.exists()


@pytest.mark.parametrize("command", ["transform-metadata", "apply-extensions"])
def test_a_stage_that_is_told_nothing_changes_nothing(command: str, tmp_path: Path) -> None:
    odd = [make_item("a", none=None, empty={}, number=1.0), make_item("b", big=2**63)]
    source, target = tmp_path / "in.ndjson", tmp_path / "out.ndjson"
    write_items(str(source), odd)
    assert run([command, "--input", str(source), "--output", str(target)]) == 0
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["transform-metadata", "--input", "x", "--output", "y", "--mapping-schema", "m.yaml"],
        ["apply-extensions", "--input", "x", "--output", "y", "--extension", "eo"],
        ["output", "--input", "x", "--output", "y", "--format", "pgstac"],
        ["update-metadata"],
    ],
)
def test_what_is_not_built_yet_is_said_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "not supported yet" in capsys.readouterr().err


def test_validate_reports_every_object_that_is_not_valid(tmp_path: Path) -> None:
    source, report = tmp_path / "in.ndjson", tmp_path / "report.json"
    write_items(str(source), [make_item("good"), {**make_item("bad"), "assets": None}])
    assert run(["validate", "--input", str(source), "--offline", "--report", str(report)]) == 1
    document = json.loads(report.read_text())
    assert (document["valid"], document["invalid"], document["unchecked"]) == (1, 1, 0)
    assert [(one["id"], one["verdict"]) for one in document["items"]] == [("bad", "invalid")]


def test_validate_takes_a_folder_and_tells_what_it_cannot_read(tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    write_items(str(folder / "a.json"), [make_item("a")])
    write_items(str(folder / "b.ndjson"), [make_item("b"), make_item("c")])
    (folder / "broken.json").write_text("{")
    report, summary = tmp_path / "report.json", tmp_path / "summary.json"
    arguments = ["validate", "--input", str(folder), "--offline", "--report", str(report), "--summary", str(summary)]
    assert run(arguments) == 1
    assert json.loads(report.read_text())["valid"] == 3
    assert json.loads(summary.read_text())["failed"] == 1


def test_output_writes_parquet_to_a_file_or_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "in.ndjson"
    write_items(str(source), [make_item("a"), make_item("b")])
    assert run(["output", "--input", str(source), "--output", str(tmp_path / "x.parquet")]) == 0
    assert run(["output", "--input", str(source), "--output", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "folder" / "in.parquet").read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"not json\nat all", b"\xff\xfe", b'"text"', b"[1, 2]", b"[[[[", b"null"]
)
def test_odd_input_is_never_a_traceback(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in.ndjson", "in.json", "in.parquet", "in.ndjson.zst", "in.txt"):
        (tmp_path / name).write_bytes(content)
        for command in (["validate", "--offline"], ["output", "--output", str(tmp_path / "out.parquet")]):
            status = run([*command, "--input", str(tmp_path / name)])
            assert status in (0, 1, 2)
            error = capsys.readouterr().err
            assert "Traceback" not in error
            assert "Error: unexpected" not in error


def test_rebuild_publishes_and_a_second_run_changes_nothing(url: str, tmp_path: Path) -> None:
    config, summary = write_workflow(tmp_path, url), tmp_path / "summary.json"
    arguments = ["rebuild-catalog", "--config", str(config), "--mode", "full", "--summary", str(summary)]
    assert run(arguments) == 0
    first = json.loads(summary.read_text())
    assert (first["fetched"], first["published"], first["added"]) == (20, 20, 20)
    assert run(arguments) == 0
    second = json.loads(summary.read_text())
    assert (second["added"], second["unchanged"]) == (0, 20)
    assert (tmp_path / "data" / "published" / "c" / "items" / "2024-01.parquet").is_file()


def test_rebuild_takes_one_partition_and_refuses_others(url: str, tmp_path: Path) -> None:
    config = str(write_workflow(tmp_path, url))
    assert run(["rebuild-catalog", "--config", config, "--partition", "2024-01"]) == 0
    assert run(["rebuild-catalog", "--config", config, "--partition", "2024-04"]) == 2
    assert run(["rebuild-catalog", "--config", config, "--collection", "nothing"]) == 2


def test_rebuild_exits_with_1_when_items_are_in_quarantine(url: str, items: list[Any], tmp_path: Path) -> None:
    items[0]["assets"] = None
    failed = tmp_path / "failed.ndjson"
    assert run(["rebuild-catalog", "--config", str(write_workflow(tmp_path, url)), "--failed", str(failed)]) == 1
    assert [record["item_id"] for record in lines(failed)] == ["i00"]


def test_rebuild_exits_with_3_when_the_source_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_workflow(tmp_path, "http://127.0.0.1:9")
    assert run(["rebuild-catalog", "--config", str(config)]) == 3
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_check_config_prints_every_error_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "workflow: {name: w}\nsource:\n  type: stac_api\n  colections: [c]\nprocessing: {concurrency: 0}\n"
    )
    assert run(["check-config", str(wrong)]) == 2
    error = capsys.readouterr().err
    assert f"{wrong}:4: source.colections" in error
    assert "collections" in error
    assert f"{wrong}:5: processing.concurrency" in error


def test_the_example_workflows_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml"))]
    assert len(paths) == 3
    assert run(["check-config", *paths]) == 0
    assert capsys.readouterr().out.count("good") == 3


@pytest.mark.parametrize("command", cli.list_commands(None))  # type: ignore[arg-type]
def test_every_command_helps_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example:\n    stac-manager {command}" in text
    for option in ("--summary", "--failed", "--log-level", "--log-format"):
        assert option in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["fetch-items", "--bbox", "1,2,3"], ["fetch-items", "--no"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    assert run(arguments) == 2


def test_logs_are_json_lines_on_request(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fetch-items", "--catalog-url", url, "--collection-id", "c", "--output", str(tmp_path / "x.ndjson")]
    assert run([*arguments, "--log-level", "DEBUG", "--log-format", "json"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert entries
    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
