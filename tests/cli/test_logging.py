"""The workflow's `logging` section holds for the commands that take a workflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.cli import run
from stac_manager.logs import configure_logging
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

SECRET = "s3cr3t-of-the-test"


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("stac_manager")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        for handler in [each for each in logger.handlers if each not in handlers]:
            handler.close()
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def url() -> Iterator[str]:
    """A source that is busy at each first request for items."""
    seen: set[str] = set()

    @web.middleware
    async def running(request: web.Request, handler: web.RequestHandler) -> web.StreamResponse:  # type: ignore[type-arg]
        if request.path == "/search" and str(request.url) not in seen:
            seen.add(str(request.url))
            return web.Response(status=503)
        return await handler(request)  # type: ignore[operator, no-any-return]

    app = create_app([make_collection()], [make_item("a", "2024-01-05T00:00:00Z")])
    app.middlewares.append(running)
    with serve(app) as url:
        yield url


def rebuild(path: Path, *options: str) -> int:
    return run(["rebuild-catalog", "--config", str(path), "--partition", "2024-01", *options])


def test_what_is_logged_is_in_the_workflows_file_and_on_the_terminal(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "folders" / "w.log"
    auth = {"auth": {"type": "bearer", "token": SECRET}}
    path = write_workflow(tmp_path, url, source=auth, logging={"level": "DEBUG", "file": str(file)})
    assert rebuild(path) == 0
    first = file.read_text()
    assert "WARNING" in first
    assert "trying again: HTTP 503" in first
    assert "trying again: HTTP 503" in capsys.readouterr().err
    assert SECRET not in first
    assert rebuild(path) == 0
    assert file.read_text().startswith(first)


@pytest.mark.parametrize(
    ("level", "options", "logged"),
    [
        ("WARNING", [], True),
        ("ERROR", [], False),
        ("ERROR", ["--log-level", "info"], True),
        ("INFO", ["--log-level", "ERROR"], False),
    ],
)
def test_the_workflows_level_holds_unless_another_one_is_given(
    level: str, options: list[str], logged: bool, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.log"
    path = write_workflow(tmp_path, url, logging={"level": level, "file": str(file)})
    assert rebuild(path, *options) == 0
    assert ("trying again" in file.read_text()) == logged
    assert ("trying again" in capsys.readouterr().err) == logged


def test_the_file_has_json_lines_where_the_terminal_has(url: str, tmp_path: Path) -> None:
    file = tmp_path / "w.log"
    assert rebuild(write_workflow(tmp_path, url, logging={"file": str(file)}), "--log-format", "json") == 0
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert any("trying again" in entry["message"] for entry in entries)


@pytest.mark.parametrize("command", ["rebuild-catalog", "replay-failed"])
def test_a_file_that_cannot_be_opened_is_one_line_before_anything_runs(
    command: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w").write_text("a file")
    for file in (tmp_path / "w" / "w.log", tmp_path):
        path = write_workflow(tmp_path, url, logging={"file": str(file)})
        assert run([command, "--config", str(path)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"Error: {file}: cannot be logged to")
    assert not (tmp_path / "data").exists()


def test_a_run_does_not_log_to_the_file_of_an_earlier_one(url: str, tmp_path: Path) -> None:
    file = tmp_path / "w.log"
    assert rebuild(write_workflow(tmp_path, url, logging={"file": str(file)})) == 0
    before = file.read_text()
    assert rebuild(write_workflow(tmp_path, url), "--log-level", "DEBUG") == 0
    assert file.read_text() == before


def test_only_the_librarys_logger_is_configured_and_only_once_for_a_file(tmp_path: Path) -> None:
    root, library = logging.getLogger(), logging.getLogger("stac_manager")
    before, level = list(root.handlers), root.level
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    for _ in range(3):
        configure_logging("WARNING", str(one))
        configure_logging("DEBUG", str(other))
    assert (root.handlers, root.level) == (before, level)
    library.getChild("sub").info("detail")
    library.getChild("sub").warning("trouble")
    logging.getLogger("another").error("not ours")
    assert [line.split(" ", 2)[1:] for line in one.read_text().splitlines()] == [["WARNING", "trouble"]]
    assert other.read_text().count("\n") == 2


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "w.log"
    configure_logging("INFO", str(file))
    logging.getLogger("stac_manager").info("before")
    file.rename(tmp_path / "w.log.1")
    logging.getLogger("stac_manager").info("after")
    assert file.read_text().endswith("after\n")
