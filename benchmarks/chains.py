"""Contenders that run the chain of stages of a workflow: the command, each stage by itself, a sync check."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any


def command(workflow: str, mode: str) -> dict[str, Any]:
    """All stages and checks, with the command `rebuild-catalog`."""
    from stac_manager.cli import run

    summary = Path(workflow).with_suffix(".json")
    code = run(["rebuild-catalog", "--config", workflow, "--mode", mode, "--summary", str(summary)])
    assert code in (0, 1), f"exit code {code}"
    counts = json.loads(summary.read_text())
    return {"made": counts["added"] + counts["modified"], "quarantined": counts["failed"]}


def stages(workflow: str, warm_up: str) -> dict[str, Any]:
    """What the command does with one worker, with the time of each stage and of its checks.

    The workflow `warm_up` is run first and not measured: modules are imported when they are first needed.
    """
    _run_stages(warm_up, _Meter())
    return _run_stages(workflow, _Meter())


def _run_stages(workflow: str, meter: _Meter) -> dict[str, Any]:
    from stac_manager.config import load_workflow
    from stac_manager.pipeline import STAGES, Chain, run_checks
    from stac_manager.pipeline.sync.runs import select

    config = load_workflow(Path(workflow))
    published = quarantined = 0
    for collection, partitions in select(config):
        chain = Chain.of(config, collection)
        for partition in partitions:
            for stage in STAGES:
                with chain.locked(partition), meter.measure(stage):
                    manifest = chain.run(stage, partition)
                with chain.locked(partition), meter.measure(f"{stage} checks"):
                    outcomes = run_checks(chain.storage, manifest)
                failed = [outcome for outcome in outcomes if not outcome.passed and not outcome.warning]
                assert not failed, failed
                quarantined += manifest.ledger.quarantined
            published += manifest.ledger.passed
        with meter.measure("collection documents"):
            chain.publish_collection()
    return {"made": published, "quarantined": quarantined, "stages": meter.taken}


def build(workflow: str, first: str, count: str) -> dict[str, Any]:
    """All stages of some partitions, with the library in one process: only makes what other tasks measure."""
    from stac_manager.config import load_workflow
    from stac_manager.pipeline import Chain
    from stac_manager.pipeline.sync.runs import rebuild

    config = load_workflow(Path(workflow))
    chain = Chain.of(config, config.collections[0])
    chosen = chain.partitions()[int(first) : int(first) + int(count)]
    results = list(rebuild(chain, chosen))
    assert not [result.error for result in results if result.error]
    return {"made": len(results)}


def upload(folder: str, target: str) -> dict[str, Any]:
    """Copy a catalog to a bucket; the calls are made side by side."""
    from concurrent.futures import ThreadPoolExecutor

    from stac_manager.storage import Storage

    storage = Storage(target)
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: storage.put(path.relative_to(folder).as_posix(), path), paths))
    return {"made": len(paths)}


def plan(workflow: str) -> dict[str, Any]:
    """One sync check, as a sensor makes it: which partitions are stale. Start-up is not timed."""
    from stac_manager.config import load_workflow
    from stac_manager.pipeline import Chain
    from stac_manager.pipeline.sync import SyncPlanner

    config = load_workflow(Path(workflow))
    meter = _Meter()
    with meter.measure("plan"):
        chain = Chain.of(config, config.collections[0])
        stale = SyncPlanner(chain).plan()
    return {**meter.taken["plan"], "made": len(stale)}


class _Meter:
    """Adds up seconds and CPU seconds by name, those of child processes included."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "cpu_s": 0.0})

    def measure(self, name: str) -> _Measured:
        return _Measured(self.taken[name])


class _Measured:
    """One measurement."""

    def __init__(self, total: dict[str, float]) -> None:
        self._total = total

    def __enter__(self) -> None:
        self._started, self._cpu = time.perf_counter(), _cpu()

    def __exit__(self, *_: object) -> None:
        self._total["seconds"] += time.perf_counter() - self._started
        self._total["cpu_s"] += _cpu() - self._cpu


def _cpu() -> float:
    used = os.times()
    # the clock of this process is exact, those of its children count hundredths
    return time.process_time() + used.children_user + used.children_system
