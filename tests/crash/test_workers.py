"""Partitions that run in several processes: the same files as from one process, and no process stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web

from stac_manager.pipeline.state.paths import partition_lock
from stac_manager.storage import Storage
from stac_manager.times import parse_interval
from tests.crash.catalogs import Catalog, Running, Source
from tests.crash.test_kills import differences

CODE = """
import pandas
from stac_manager.pipeline.sync import worker_pool
worker_pool.HEAD_START = 0.0
from stac_manager.cli import main
main()
"""


class Gate:
    """Lets the searches of months through when so many months are asked for at the same time, or when it is opened."""

    def __init__(self, months: int) -> None:
        self.wanted, self.months, self.opened = months, set[str](), False
        self.waiting = self.most = 0

    async def __call__(self, request: web.Request) -> None:
        query: Any = await request.json() if request.method == "POST" else request.query
        interval = query.get("datetime")
        start, end = parse_interval(interval) if interval else (None, None)
        if start is None or end is None or end - start > timedelta(days=40):
            return
        self.months.add(f"{start:%Y-%m}")
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0.02)
        while not self.opened and len(self.months) < self.wanted:  # noqa: ASYNC110 - another thread opens it
            await asyncio.sleep(0.01)
        self.waiting -= 1

    def wait_for(self, months: int) -> None:
        """Wait until so many months are asked for at the same time."""
        wait_until(lambda: len(self.months) >= months)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    source = Source()
    with source.serve():
        yield source


@pytest.fixture(scope="module")
def calm(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What one process makes of the source."""
    calm = catalog(tmp_path_factory.mktemp("calm"), source, 1)
    done = calm.run("full")
    assert done.status == 1, done.out
    return calm


@contextmanager
def gated(source: Source, months: int) -> Iterator[Gate]:
    gate = source.before_answer = Gate(months)
    try:
        yield gate
    finally:
        gate.opened, source.before_answer = True, None


def catalog(folder: Path, source: Source, workers: int, **processing: Any) -> Catalog:
    changes = {"processing": {"page_size": 2, **processing, "workers": workers}}
    return Catalog(folder / f"by-{workers}", source.url, **changes)


def others(run: Running) -> list[psutil.Process]:
    return psutil.Process(run.process.pid).children(recursive=True)


def require_gone(processes: list[psutil.Process]) -> None:
    assert processes
    gone, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive
    assert gone


@pytest.mark.parametrize("workers", [2, 3])
def test_several_processes_write_the_same_bytes_as_one(
    source: Source, calm: Catalog, tmp_path: Path, workers: int
) -> None:
    many = catalog(tmp_path, source, workers, concurrency=workers)
    with gated(source, workers) as gate:
        done = many.start("full", code=CODE).end()
    assert done.status == 1, done.out
    assert gate.most <= workers  # the limit of the workflow holds for all of them together
    assert differences(calm, many) == []
    assert many.leftovers() == []
    assert "Traceback" not in done.out


@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_no_process_outlives_the_command(
    source: Source, calm: Catalog, tmp_path: Path, number: signal.Signals, group: bool
) -> None:
    hit = catalog(tmp_path, source, 2)
    with gated(source, 9) as gate:
        run = hit.start("full", code=f"import os; os.setpgid(0, 0)\n{CODE}")
        gate.wait_for(2)
        workers = others(run)
        assert len(workers) == 1
        (os.killpg if group else os.kill)(run.process.pid, number)
        out, _ = run.process.communicate(timeout=60)
        require_gone(workers)
    assert "Traceback" not in out
    if number == signal.SIGINT:
        assert run.process.returncode == 130
        assert out.splitlines()[-1] == "Interrupted; nothing is half-written."
        assert hit.leftovers() == []
    else:
        assert run.process.returncode == -number
    assert hit.readable() == {}
    hit.age_leftovers()
    assert hit.run("full").status == 1
    assert hit.leftovers() == []
    assert differences(calm, hit) == []


def test_a_worker_that_is_killed_fails_its_partition_and_the_others_go_on(
    source: Source, calm: Catalog, tmp_path: Path
) -> None:
    hit = catalog(tmp_path, source, 2)
    with gated(source, 9) as gate:
        run = hit.start("full", code=CODE)
        gate.wait_for(2)
        (worker,) = others(run)
        worker.kill()
        gate.opened = True
        done = run.end()
    assert done.status == 3
    reason = "its process was killed (SIGKILL), perhaps because memory ran out; run the partition again"
    assert done.errors == [f"Error: c 2024-02: {reason}"]
    assert {path.stem for path in (hit.data / "published" / "c" / "items").iterdir()} == {"2024-01", "2024-03"}
    assert hit.run("incremental").status == 1
    assert hit.readable() == calm.readable()


def test_what_a_worker_logs_is_a_line_of_the_command(source: Source, tmp_path: Path) -> None:
    hit = catalog(tmp_path, source, 2)
    with gated(source, 9) as gate:
        with Storage(str(hit.data)).lock(partition_lock("c", "2024-02")):
            run = hit.start("full", "--log-format", "json", code=CODE)
            assert run.process.stdout is not None
            line = next(line for line in run.process.stdout if "another run" in line)
            assert gate.months == {"2024-01"}  # the command itself works on that one
        gate.opened = True
        assert run.end().status == 1
    assert line.startswith("{")
    assert line.endswith('"message": "c 2024-02: another run is writing it; waiting"}\n')
