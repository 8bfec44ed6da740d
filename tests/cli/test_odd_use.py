from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.cli import run
from stac_manager.files import write_items
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow


@pytest.fixture
def url() -> Iterator[str]:
    with serve(create_app([make_collection()], [make_item("a")])) as url:
        yield url


def test_no_part_of_a_query_or_a_user_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "http://user:SECRETPW@127.0.0.1:9/?token=SECRETTOK"
    assert run(["discover-collections", "--catalog-url", secret]) == 3
    arguments = ["fetch-items", "--catalog-url", secret, "--collection-id", "c", "--output", str(tmp_path / "x.ndjson")]
    assert run(arguments) == 3
    text = capsys.readouterr()
    assert "SECRET" not in text.err + text.out


def test_a_collection_that_the_source_does_not_have_is_an_error(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "x.ndjson"
    assert run(["fetch-items", "--catalog-url", url, "--collection-id", "nope", "--output", str(target)]) == 3
    assert "nope" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    "more",
    [
        ["--output", "bad.txt"],
        ["--output", "x.ndjson", "--rate-limit", "nan"],
        ["--output", "x.ndjson", "--cql2", "{}", "--query", "{}"],
        ["--output", "x.ndjson", "--cql2", '{"op": "=", "args": [{"property": "a"}, 1]}'],
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_fetched(
    more: list[str], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["fetch-items", "--catalog-url", url, "--collection-id", "c", *more]) == 2
    assert list(tmp_path.iterdir()) == []


def test_parquet_that_would_hold_nothing_is_told_with_every_reason(tmp_path: Path) -> None:
    source, target, failed = tmp_path / "in.ndjson", tmp_path / "out.parquet", tmp_path / "failed.ndjson"
    write_items(str(source), [{**make_item("a"), "geometry": None, "bbox": None}])
    arguments = ["output", "--input", str(source), "--output", str(target), "--failed", str(failed)]
    assert run(arguments) == 1
    assert json.loads(failed.read_text())["item_id"] == "a"
    assert not target.exists()


def test_parquet_does_not_go_to_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_items("in.ndjson", [make_item("a")])
    assert run(["output", "--input", "in.ndjson", "--output", "-"]) == 2


def test_one_nan_in_a_feature_collection_refuses_one_item(tmp_path: Path) -> None:
    source, target = tmp_path / "in.json", tmp_path / "out.ndjson"
    write_items(str(source), [make_item("good"), make_item("bad", cloud=12345)])
    source.write_text(source.read_text().replace("12345", "NaN"))
    assert run(["transform-metadata", "--input", str(source), "--output", str(target)]) == 1
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == ["good"]


def test_a_number_that_would_change_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "in.ndjson", tmp_path / "out.ndjson"
    text = json.dumps(make_item("big", n=10**30)) + "\n" + json.dumps(make_item("good", n=2**63)) + "\n"
    source.write_text(text)
    assert run(["transform-metadata", "--input", str(source), "--output", str(target)]) == 1
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == ["good"]


def test_a_byte_order_mark_harms_nothing(tmp_path: Path) -> None:
    for name in ("in.ndjson", "in.json"):
        source = tmp_path / name
        write_items(str(source), [make_item("a")])
        source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
        assert run(["transform-metadata", "--input", str(source), "--output", str(tmp_path / "out.ndjson")]) == 0


def test_counts_add_up_in_the_summary(tmp_path: Path) -> None:
    source, summary = tmp_path / "in.json", tmp_path / "summary.json"
    source.write_text(json.dumps({"features": [make_item("a"), None, 7]}))
    arguments = ["--input", str(source), "--output", str(tmp_path / "out.ndjson"), "--summary", str(summary)]
    assert run(["transform-metadata", *arguments]) == 1
    counts = json.loads(summary.read_text())
    assert (counts["fetched"], counts["published"], counts["failed"]) == (3, 1, 2)


def test_one_bad_collection_does_not_hide_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    odd: list[Any] = [{"no": "id"}, {"id": "flat", "extent": {"spatial": {"bbox": [1, 2]}}}, 7]

    async def collections(request: web.Request) -> web.Response:
        return web.json_response({"collections": [*odd, make_collection("good")], "links": []})

    app = create_app([make_collection()], [])

    @web.middleware
    async def route(request: web.Request, handler: Any) -> web.StreamResponse:
        return await (collections(request) if request.path == "/collections" else handler(request))

    app.middlewares.append(route)
    with serve(app) as url:
        arguments = ["discover-collections", "--catalog-url", url, "--format", "json", "--bbox", "0,0,1,1"]
        assert run(arguments) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ["good"]


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    source = tmp_path / "in.ndjson"
    write_items(str(source), [make_item(f"i{number}", text="x" * 1000) for number in range(2000)])
    program = Path(sys.executable).parent / "stac-manager"
    command = f"{program} transform-metadata --input {source} --output - | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0", done.stderr
    assert done.stderr == ""


def test_a_workflow_that_starts_in_the_future_says_so(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_workflow(tmp_path, url, partitions={"start": "2999-01-01", "end": None}))
    assert run(["check-config", config]) == 0
    assert "2999-01-01" in capsys.readouterr().out
    assert run(["rebuild-catalog", "--config", config, "--dry-run"]) == 2
    assert "no partition yet" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["http://", "https:///x", "ftp://example.com", "x"])
def test_what_is_no_address_is_wrong_usage(address: str) -> None:
    assert run(["discover-collections", "--catalog-url", address]) == 2


def test_a_full_device_is_one_clear_line(tmp_path: Path) -> None:
    source = tmp_path / "in.ndjson"
    write_items(str(source), [make_item(f"i{number}", text="x" * 1000) for number in range(200)])
    program = Path(sys.executable).parent / "stac-manager"
    command = f"{program} transform-metadata --input {source} --output - > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
