"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import orjson
import pytest

from benchmarks.s3_proxy import CountingProxy, counting_proxy
from benchmarks.s3_server import BUCKET, free_port, s3_environment, s3_server, wait_for_port
from stac_manager.http import limiter

# a slow machine is no failure; in CI the examples are the same each time, so that it tells of the change it runs on
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

_THEIRS = ("STAC_", "AWS_", "AZURE_", "GOOGLE_", "SOURCE_DATE_EPOCH")
_OURS = "STAC_MANAGER_"
# at import, so that it holds for fixtures of every scope, and for the processes that tests start
for _name in [name for name in os.environ if name.startswith(_THEIRS) and not name.startswith(_OURS)]:
    del os.environ[_name]

SHARED = Path(os.environ.get("STAC_MANAGER_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's cache may hold schemas that tests must not find."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _fresh_limiters() -> None:
    """The next test's server may have the port of one that asked for a pause."""
    limiter._limiters.clear()


def need(condition: bool, reason: str) -> None:
    """Skip with the reason where a machine lacks something; where everything must be there, fail."""
    if condition:
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def schema_dir() -> Path:
    """Real STAC and extension schemas, laid out as `<host>/<path>`."""
    folder = SHARED / "schemas"
    need(folder.is_dir(), f"no schemas at {folder}")
    return folder


@pytest.fixture(scope="session")
def corpus_dir() -> Path:
    """Real items and collections of many providers."""
    folder = SHARED / "corpus"
    need(folder.is_dir(), f"no corpus at {folder}")
    return folder


@pytest.fixture(scope="session")
def corpus_items(corpus_dir: Path) -> list[dict]:
    """Every item of the corpus that is strict JSON, in a stable order."""
    items = []
    for path in sorted(corpus_dir.glob("*/items.ndjson")):
        items += [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    return items


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on a real server that speaks S3 and honours the conditions of a write."""
    before = dict(os.environ)
    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        os.environ.update(s3_environment(url))
        try:
            yield f"s3://{BUCKET}"
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture
def s3_calls(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingProxy]:
    """The calls to the bucket of `s3_url` by storages that are made in the test."""
    with counting_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture(scope="session")
def _rclone_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    need(rclone is not None, "rclone is not installed")
    folder, port = tmp_path_factory.mktemp("rclone"), free_port()
    (folder / "unconditional").mkdir()
    command = [str(rclone), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def unconditional_s3_url(_rclone_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket on a real server that ignores the conditions of a write."""
    for name, value in s3_environment(_rclone_url).items():
        monkeypatch.setenv(name, value)
    return "s3://unconditional"
