"""The platform as it runs: Dagster's daemon and code server as processes of their own, over a folder of workflows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

ROOT = Path(__file__).parents[2]
UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
JOB, SENSOR = "rebuild_w_c", "sync_w_c"


def wait_for(condition: Callable[[], object], what: Callable[[], object] | str = "", seconds: float = 240) -> None:
    """Look until the condition holds; after the deadline, say what is instead."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what() if callable(what) else what}"
        time.sleep(0.25)


class Platform:
    """A DAGSTER_HOME with the repository's `dagster.yaml`, and the daemon on it."""

    def __init__(self, folder: Path, workflows: Path, instance: dg.DagsterInstance) -> None:
        self.instance, self._folder = instance, folder
        self._settings = {**os.environ, "DAGSTER_HOME": str(folder / "home"), "STAC_WORKFLOWS": str(workflows)}
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The last that the daemon said."""
        return (self._folder / "daemon.log").read_text(errors="replace")[-4000:]

    def start(self) -> None:
        command = [_program("dagster-daemon"), "run", "-w", "workspace.yaml"]
        with (self._folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                command, cwd=ROOT, env=self._settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL to the daemon and all that it started: its session."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        while members := _session(daemon.pid):
            for pid in members:
                _kill(pid)
            daemon.poll()
            time.sleep(0.05)
        daemon.wait(timeout=30)

    def dagster(self, *arguments: str) -> None:
        """Dagster's command line, as a person uses it."""
        command = [_program("dagster"), *arguments, "-w", "workspace.yaml"]
        done = subprocess.run(command, cwd=ROOT, env=self._settings, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def runs(self, **wanted: object) -> list[dg.DagsterRun]:
        """Runs of the collection's job, the latest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name=JOB, **wanted)))  # type: ignore[arg-type]

    def under_way(self) -> list[dg.DagsterRun]:
        return self.runs(statuses=UNDER_WAY)

    def ticks(self) -> int:
        """How many ticks of the sync sensor have ended."""
        states = [state for state in self.instance.all_instigator_state() if state.instigator_name == SENSOR]
        found = [
            tick
            for state in states
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
            if tick.end_timestamp is not None
        ]
        return len(found)

    def wait_for_ticks(self, count: int) -> None:
        until = self.ticks() + count
        wait_for(lambda: self.ticks() >= until, lambda: self.log)

    def deletions(self, partition: str) -> dg.AssetCheckEvaluation | None:
        """The latest evaluation of the check of that name, for a partition."""
        key = dg.AssetCheckKey(dg.AssetKey(["w", "c", "raw_items"]), "deletions")
        for record in self.instance.event_log_storage.get_asset_check_execution_history(key, limit=200):
            event = record.event.dagster_event if record.event else None
            if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                if evaluation.partition == partition:
                    return evaluation
        return None


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _session(leader: int) -> list[int]:
    """The processes of a session that are not dead yet."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def platform(folder: Path, workflows: Path) -> Iterator[Platform]:
    """The platform, started; nothing of it is left afterwards."""
    target = folder / "home"
    target.mkdir()
    shutil.copy(ROOT / "dagster.yaml", target)
    with dg.DagsterInstance.from_config(str(target)) as instance:
        running = Platform(folder, workflows, instance)
        try:
            running.start()
            yield running
        finally:
            running.kill()
