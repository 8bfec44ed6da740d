"""The section about buckets: calls and seconds where each call takes 20 ms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import ROOT, Result, Runner, server
from benchmarks.s3_proxy import proxy_process
from benchmarks.s3_server import BUCKET, s3_environment, s3_server
from benchmarks.sections import Sizes, workflow_file

__all__ = ["CALL_MS", "SMALL_PARTITION", "bucket"]

CALL_MS = 20.0
SMALL_PARTITION = 100
_FIRST_DAY = "2015-01-01"
_KIND = "sentinel-2"


def bucket(runner: Runner, sizes: Sizes, folder: Path) -> list[Result]:
    """A small partition through all stages on a fresh bucket, and sync checks with nothing to do."""
    with s3_server(folder) as s3:
        rows = _small_partition(runner, s3, folder)
        return rows + _sync_checks(runner, sizes.partitions, s3, folder)


def _small_partition(runner: Runner, s3: str, folder: Path) -> list[Result]:
    with server(SMALL_PARTITION, _KIND, 0, 1) as url, proxy_process(s3, CALL_MS, folder) as proxy:
        workflow = workflow_file(folder / "small", url, 1, output=f"s3://{BUCKET}/small")
        result = runner.run("chain-command", workflow, "full", once=True, environment=s3_environment(proxy.url))
        name = f"{SMALL_PARTITION} items, all stages, fresh bucket"
        return [{"name": name, "partitions": 1, **result, "calls": proxy.counts()}]


def _sync_checks(runner: Runner, partitions: tuple[int, ...], s3: str, folder: Path) -> list[Result]:
    """Catalogs of one item a partition; they are made in a local folder, and copied to the bucket without a delay."""
    rows = []
    made = 0
    with server(partitions[-1], _KIND, 0, partitions[-1], start=_FIRST_DAY) as url:
        for count in partitions:
            local = workflow_file(folder / "tiny", url, count, start=_FIRST_DAY)
            _build(local, made, count)
            made = count
            target = f"s3://{BUCKET}/tiny-{count}"
            runner.run("upload", local.parent / "data", target, once=True, environment=s3_environment(s3))
            remote = workflow_file(folder / f"tiny-{count}", url, count, start=_FIRST_DAY, output=target)
            rows.append(
                {"name": "sync check, nothing to do", "partitions": count, **_check(runner, remote, s3, folder)}
            )
    return rows


def _check(runner: Runner, workflow: Path, s3: str, folder: Path) -> Result:
    """The third check: the first one tests what the source can do, the second one tells what is not the delay."""
    for _ in range(2):
        undelayed = runner.run("chain-plan", workflow, once=True, environment=s3_environment(s3))
    with proxy_process(s3, CALL_MS, folder) as proxy:
        result = runner.run("chain-plan", workflow, once=True, environment=s3_environment(proxy.url))
        return {**result, "undelayed_s": undelayed.get("seconds"), "calls": proxy.counts()}


def _build(workflow: Path, made: int, count: int) -> None:
    """Make the partitions from `made` up to `count`, with a process on each core."""
    cores = os.cpu_count() or 1
    share = -(-(count - made) // cores)
    command = [sys.executable, "-m", "benchmarks.contenders", "chain-build", str(workflow)]
    builders = [
        subprocess.Popen([*command, str(first), str(min(share, count - first))], cwd=ROOT, stdout=subprocess.DEVNULL)
        for first in range(made, count, share)
    ]
    codes = [builder.wait() for builder in builders]
    if any(codes):
        raise RuntimeError("the catalog for the sync checks could not be made")
