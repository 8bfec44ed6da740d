"""The web server and a real browser: what was materialized is on its page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import dagster as dg
import pytest

from demo.server import create_app, serve
from stac_assets.definitions import build_defs
from stac_manager.config import load_workflow
from tests.conftest import need
from tests.dagster.conftest import QUIET
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=30000",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def materialize(workflows: Path, target: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        definitions = build_defs([load_workflow(workflows / "w.yaml")])
    with dg.DagsterInstance.from_config(str(target)) as instance:
        job = definitions.resolve_job_def("rebuild_w_c")
        assert job.execute_in_process(partition_key="2024-01", instance=instance, run_config=QUIET).success


@contextmanager
def web_server(workflows: Path, target: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "dagster-webserver"
    settings = {**os.environ, "DAGSTER_HOME": str(target), "STAC_WORKFLOWS": str(workflows)}
    command = [program, "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5).close()
                break
            except URLError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def page(chromium: str, url: str, profile: Path) -> str:
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_browser_shows_the_partition_with_its_counts_and_paths(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    need(chromium is not None, "needs Chromium")
    assert chromium is not None
    workflows, target = tmp_path / "workflows", tmp_path / "home"
    workflows.mkdir()
    target.mkdir()
    shutil.copy(ROOT / "dagster.yaml", target)
    with serve(create_app([make_collection()], [make_item("a"), make_item("b")])) as url:
        write_workflow(workflows, url)
        materialize(workflows, target)
        with web_server(workflows, target) as ui:
            text = page(chromium, f"{ui}/assets/w/c/published?view=partitions&partition=2024-01", tmp_path / "profile")
    assert "Materialized" in text
    assert "published/c/items/2024-01.parquet" in text
    for name in ("passed", "quarantined", "footprints", "timeline"):
        assert name in text
