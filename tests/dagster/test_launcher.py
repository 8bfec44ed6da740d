"""What run monitoring hears of runs whose process is gone, though nobody said so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from stac_assets.launcher import MonitoredRunLauncher

FREE_PORT = 1
"""Nothing answers there."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    launcher = {"run_launcher": {"module": "stac_assets.launcher", "class": "MonitoredRunLauncher"}}
    with dg.instance_for_test(overrides=launcher) as instance:
        yield instance


def status_of(instance: dg.DagsterInstance, host: str, pid: int | None) -> WorkerStatus:
    """The health of a run whose code server does not answer any more."""

    @dg.job
    def nothing() -> None:
        pass

    tags = {GRPC_INFO_TAG: json.dumps({"host": host, "port": FREE_PORT})}
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags=tags)
    if pid:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    launcher = instance.run_launcher
    assert isinstance(launcher, MonitoredRunLauncher)
    return launcher.check_run_worker_health(run).status


def test_a_run_whose_process_goes_on_is_running(instance: dg.DagsterInstance) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert status_of(instance, "localhost", process.pid) is WorkerStatus.RUNNING


def test_a_run_whose_process_is_gone_has_failed(instance: dg.DagsterInstance) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert status_of(instance, "localhost", process.pid) is WorkerStatus.FAILED


def test_a_dead_process_that_nobody_took_note_of_is_gone(instance: dg.DagsterInstance) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        time.sleep(0.5)
        assert status_of(instance, "localhost", process.pid) is WorkerStatus.FAILED


def test_a_younger_process_of_the_same_number_is_another(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        earlier = time.time() - 3600
        monkeypatch.setattr("time.time", lambda: earlier)
        assert status_of(instance, "localhost", process.pid) is WorkerStatus.FAILED


@pytest.mark.parametrize(("host", "pid"), [("other.invalid", 2**22 + 1), ("localhost", None)])
def test_where_it_cannot_be_told_a_run_goes_on(instance: dg.DagsterInstance, host: str, pid: int | None) -> None:
    assert status_of(instance, host, pid) is WorkerStatus.RUNNING
