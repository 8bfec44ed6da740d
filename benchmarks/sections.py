"""The sections of the benchmark. Each gives its rows as plain data; `benchmarks.report` words them."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.items import SCHEMAS
from benchmarks.processes import ROOT, Result, Runner, requests_made, server, write_items

__all__ = ["KIND_SECTIONS", "Sizes", "start", "workflow_file"]

Rows = list[Result]

INTERVAL = "2024-06-01T00:00:00Z/2024-07-01T00:00:00Z"
CONCURRENCY = 8
SYNC_DAYS = 100


@dataclass(frozen=True)
class Sizes:
    """How many items and partitions the sections use."""

    items: int = 20_000
    sync_items: int = 20_000
    normal_checks: int = 100
    fast_checks: int = 2_000
    stage_days: int = 20
    delay_s: float = 0.2
    partitions: tuple[int, ...] = (250, 1_000, 4_000)

    @classmethod
    def quick(cls) -> Sizes:
        """To try the benchmark: the numbers mean nothing."""
        return cls(1_000, 500, 20, 200, 4, 0.02, (10, 20, 40))


def fetch(runner: Runner, sizes: Sizes, kind: str, folder: Path) -> Rows:
    """ours, pystac-client and rustac against one server."""
    target = folder / "fetched.ndjson"
    contenders = (
        ("pystac-client", "fetch-pystac-client"),
        ("rustac", "fetch-rustac"),
        ("stac-manager", "fetch-ours"),
    )
    rows = []
    for count in (sizes.items // 4, sizes.items):
        # the smaller number is only for memory, so its answers need no delay
        delay = sizes.delay_s if count == sizes.items else 0.02
        with server(count, kind, delay) as url:
            for name, task in contenders:
                requests_made(url)
                result = runner.run(task, url, target, INTERVAL, once=count != sizes.items)
                asked = requests_made(url) // result.get("runs", 1)
                rows.append(_checked({"name": name, "items": count, "requests": asked, **result}, count))
    with server(sizes.items * 10, kind, 0.02) as url:
        result = runner.run("fetch-ours", url, target, INTERVAL, once=True)
        count = sizes.items * 10
        rows.append(_checked({"name": "stac-manager", "items": count, **result}, count))
    target.unlink(missing_ok=True)
    return rows


def parquet(runner: Runner, sizes: Sizes, kind: str, folder: Path) -> Rows:
    """JSON lines to stac-geoparquet."""
    peers = (
        ("stac-geoparquet, from items", "parquet-from-items"),
        ("stac-geoparquet, from items in chunks", "parquet-in-chunks"),
        ("stac-geoparquet, from ndjson", "parquet-from-ndjson"),
        ("rustac translate", "parquet-rustac"),
        ("stac-manager, library", "parquet-ours"),
        ("stac-manager output", "parquet-ours-command"),
    )
    some = (peers[0], peers[3], peers[4])
    rows = []
    for count, contenders in ((sizes.items // 4, some), (sizes.items, peers), (sizes.items * 5, peers[4:5])):
        source = write_items(folder / f"{kind}-{count}.ndjson", count, 30, kind)
        for name, task in contenders:
            target = folder / "out.parquet"
            result = runner.run(task, source, target, once=count != sizes.items)
            size = target.stat().st_size / 1e6 if "error" not in result else None
            rows.append(_checked({"name": name, "items": count, "file_mb": size, **result}, count))
            target.unlink(missing_ok=True)
        if count != sizes.items:
            source.unlink()
    return rows


def validate(runner: Runner, sizes: Sizes, kind: str, folder: Path) -> Rows:
    """Core and extension schemas; start-up aside."""
    source = write_items(folder / f"{kind}-{sizes.items}.ndjson", sizes.items, 30, kind)
    schemas = SCHEMAS if SCHEMAS.is_dir() else ROOT / "stac_manager" / "validate" / "schemas"
    contenders = (
        ("stac-validator", "validate-stac-validator", sizes.normal_checks, ()),
        ("stac-validator, fast mode", "validate-stac-validator-fast", sizes.fast_checks, (folder / "schemas",)),
        ("jsonschema-rs alone", "validate-jsonschema-rs", sizes.items, ()),
        ("stac-manager", "validate-ours", sizes.items, ()),
        ("stac-manager, reading included", "validate-ours-reading", sizes.items, ()),
    )
    return [
        {"name": name, "items": count, **runner.run(task, source, schemas, count, *more)}
        for name, task, count, more in contenders
    ]


def stages(runner: Runner, sizes: Sizes, kind: str, folder: Path) -> Rows:
    """Five stages with their checks; the API answers at once."""
    days = sizes.stage_days
    rows = []
    with server(sizes.items, kind, 0, days) as url:
        plain = workflow_file(folder / f"{kind}-plain", url, days)
        warm_up = workflow_file(folder / f"{kind}-warm-up", url, 1)
        rows.append(
            {
                "name": "each stage by itself",
                "items": sizes.items,
                **runner.run("chain-stages", plain, warm_up, once=True),
            }
        )
        for workers in sorted({1, os.cpu_count() or 1}) if has_workers() else [None]:
            name = "rebuild-catalog" if workers is None else f"rebuild-catalog, workers: {workers}"
            workflow = workflow_file(folder / f"{kind}-{workers}", url, days, workers)
            result = runner.run("chain-command", workflow, "full", once=True)
            rows.append(_checked({"name": name, "items": sizes.items, "workers": workers, **result}, sizes.items))
    return rows


def sync(runner: Runner, sizes: Sizes, kind: str, folder: Path) -> Rows:
    """A full rebuild, and a sync after nothing or 1 % changed; each answer after 50 ms."""
    count = sizes.sync_items
    rows: Rows = []
    with server(count, kind, 0.05, SYNC_DAYS) as url:
        workflow = workflow_file(folder / f"{kind}-sync", url, SYNC_DAYS)
        for name, change, expected in (
            ("full rebuild", "", count),
            ("", "", 0),
            ("nothing changed", "", 0),
            ("1 % changed, all in the latest partition", "step=1&share=0.01", count // 100),
            ("1 % changed, some in every partition", "step=100&share=1", count // 100),
        ):
            if change:
                urllib.request.urlopen(f"{url}/change?{change}").close()
            requests_made(url)
            result = runner.run("chain-command", workflow, "incremental" if rows else "full", once=True)
            rows.append(_checked({"name": name, "requests": requests_made(url), **result}, expected))
    return [row for row in rows if row["name"]]


def start(runner: Runner, sizes: Sizes, folder: Path) -> Rows:
    """How fast the commands start."""
    return [
        {"name": f"{program} --help", **runner.run("start", program, once=True)}
        for program in ("stac-manager", "rustac")
    ]


def has_workers() -> bool:
    """Whether `processing.workers` exists; read from the schema, because this process stays small."""
    schema = (ROOT / "stac_manager" / "config" / "workflow.schema.json").read_text()
    return "workers" in json.loads(schema)["$defs"]["Processing"]["properties"]


def workflow_file(
    folder: Path, url: str, days: int, workers: int | None = None, *, output: str = "", start: str = "2024-06-01"
) -> Path:
    """A workflow with daily partitions, and validation with all schemas, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    end = date.fromisoformat(start) + timedelta(days=days - 1)
    processing: dict[str, Any] = {"concurrency": CONCURRENCY}
    if workers is not None:
        processing["workers"] = workers
    workflow = {
        "workflow": {"name": "bench"},
        "source": {"catalog_url": url, "collections": ["scenes"]},
        "validation": {"offline": True, "schema_dirs": [str(SCHEMAS)] if SCHEMAS.is_dir() else []},
        "output": {"path": output or str(folder / "data")},
        "partitions": {"by": "day", "start": start, "end": end.isoformat()},
        "processing": processing,
    }
    path = folder / "workflow.yaml"
    path.write_text(json.dumps(workflow))
    return path


def _checked(row: Result, expected: int) -> Result:
    """The row, with a note if it made another number than it should have."""
    if "error" not in row and row["made"] != expected:
        row["note"] = f"made {row['made']:,} instead of {expected:,}"
    return row


KIND_SECTIONS: dict[str, Callable[[Runner, Sizes, str, Path], Rows]] = {
    "fetch": fetch,
    "parquet": parquet,
    "validate": validate,
    "stages": stages,
    "sync": sync,
}
"""Sections that are run for each kind of items."""
