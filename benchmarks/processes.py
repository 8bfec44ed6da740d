"""Runs contenders and servers, each in a process of its own, and measures them from outside.

This process stays small: on Linux, the peak memory of a child is never less than what its parent had.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from benchmarks.s3_server import free_port, wait_for_port

__all__ = ["ROOT", "Result", "Runner", "requests_made", "server", "write_items"]

ROOT = Path(__file__).parents[1]
SHORT_S = 10.0
_LONGEST_S = 1800.0

Result = dict[str, Any]
"""seconds, cpu_s, memory_mb and what the contender itself tells; or only `error`."""


class Runner:
    """Runs contenders.

    Args:
        repeat: how often a short run is made.
        repeat_long: how often a run of more than `SHORT_S` seconds is made.
    """

    def __init__(self, repeat: int = 3, repeat_long: int = 1) -> None:
        self.repeat, self.repeat_long = repeat, repeat_long

    def run(
        self, task: str, *arguments: object, once: bool = False, environment: dict[str, str] | None = None
    ) -> Result:
        """The median run of a contender, with the spread of all its runs; the most memory of all.

        Args:
            task: a name in `benchmarks.contenders.TASKS`.
            arguments: of the task.
            once: the run changes what it works on, so it cannot be repeated.
            environment: variables to set.
        """
        runs: list[Result] = []
        while not runs or (not once and len(runs) < self._wanted(runs[0])):
            run = _contend(task, [str(argument) for argument in arguments], environment or {})
            click.echo(f"  {task}: {_short(run)}")
            if "error" in run:
                return run
            runs.append(run)
        ordered = sorted(runs, key=lambda run: float(run["seconds"]))
        seconds = [run["seconds"] for run in ordered]
        median = ordered[len(ordered) // 2]
        return {
            **median,
            "seconds": statistics.median(seconds),
            "least_s": seconds[0],
            "most_s": seconds[-1],
            "memory_mb": max(run["memory_mb"] for run in runs),
            "runs": len(runs),
        }

    def _wanted(self, first: Result) -> int:
        return self.repeat if first["process_s"] < SHORT_S else self.repeat_long


def _contend(task: str, arguments: Sequence[str], environment: dict[str, str]) -> Result:
    command = [sys.executable, "-m", "benchmarks.contenders", task, *arguments]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors, env={**os.environ, **environment})
        late = threading.Timer(_LONGEST_S, process.send_signal, [signal.SIGKILL])
        late.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            late.cancel()
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            return {"error": _reason(process.returncode, errors.read())}
        told = json.loads(output.read().splitlines()[-1])
    outside = {
        "seconds": round(seconds, 3),
        "process_s": round(seconds, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "memory_mb": round(usage.ru_maxrss / 1024),
    }
    return {**outside, **told}


def _reason(code: int, errors: str) -> str:
    """What a contender answered: the last line of its error, without paths of this machine."""
    if code < 0:
        return f"killed by signal {-code}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or [f"exit code {code}"]
    told = [line for line in lines if re.match(r"[\w.]*(Error|Exception|ERROR)\b", line)] or lines
    return re.sub(r"/[\w./-]+/", "…/", told[-1])[:300]


def _short(run: Result) -> str:
    return json.dumps({name: value for name, value in run.items() if not isinstance(value, dict | list)})


def write_items(path: Path, count: int, days: int, kind: str) -> Path:
    """Write items as JSON lines, in a process of its own."""
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.items", str(path), str(count), str(days), kind]
        subprocess.run(command, cwd=ROOT, check=True)
    return path


@contextmanager
def server(items: int, kind: str, delay: float, days: float = 30, start: str = "2024-06-01") -> Iterator[str]:
    """The local STAC API, in its own process; gives its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.server", "--items", str(items), "--kind", kind]
    command += ["--delay", str(delay), "--days", str(days), "--start", start, "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for_port(port, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def requests_made(url: str) -> int:
    """The number of searches since the last call."""
    with urllib.request.urlopen(f"{url}/count") as answer:
        return int(json.load(answer)["requests"])
