"""One contender, one task, one process: prints seconds, peak memory and the number of results, as JSON.

python -m benchmarks.contenders fetch-ours http://127.0.0.1:8990 /tmp/out.ndjson
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

INTERVAL = "2024-06-01T00:00:00Z/2024-07-01T00:00:00Z"
PAGE = 250


def fetch_ours(url: str, target: str, rate: str = "0", concurrency: str = "8") -> int:
    from stac_manager.cli import run

    arguments = ["fetch-items", "--catalog-url", url, "--collection-id", "scenes", "--datetime", INTERVAL]
    limits = ["--concurrency", concurrency, "--rate-limit", rate, "--page-size", str(PAGE)]
    assert run([*arguments, *limits, "--output", target]) == 0
    return _lines(target)


def fetch_limited(url: str, rate: str) -> int:
    """The fetch alone, without writing a file."""
    from stac_manager.http import HttpSettings
    from stac_manager.ingest import IngestModule, StacApiSource
    from stac_manager.times import Window, parse_rfc3339

    start, end = map(parse_rfc3339, INTERVAL.split("/"))
    source = StacApiSource(url, "scenes", http=HttpSettings(concurrency=8, rate_limit=float(rate)), page_size=PAGE)
    with IngestModule(source) as ingest:
        ingest.fetch(Window(start, end))
        return len(ingest.items)


def fetch_pystac_client(url: str, target: str) -> int:
    from pystac_client import Client

    search = Client.open(url).search(collections=["scenes"], datetime=INTERVAL, limit=PAGE)
    with Path(target).open("w") as file:
        for item in search.items_as_dicts():
            file.write(json.dumps(item) + "\n")
    return _lines(target)


def fetch_rustac(url: str, target: str) -> int:
    import rustac

    async def search() -> int:
        return int(await rustac.search_to(target, url, collections=["scenes"], datetime=INTERVAL, limit=PAGE))

    return asyncio.run(search())


def parquet_ours(source: str, target: str) -> int:
    from stac_manager.files import read_lines
    from stac_manager.items import loads
    from stac_manager.output import write_geoparquet

    return write_geoparquet(lambda: map(loads, read_lines(Path(source))), Path(target)).rows


def parquet_stac_geoparquet(source: str, target: str) -> int:
    from stac_geoparquet.arrow import parse_stac_ndjson_to_arrow, to_parquet

    to_parquet(parse_stac_ndjson_to_arrow(source), target)
    return _rows(target)


def parquet_rustac(source: str, target: str) -> int:
    """The command of rustac, which is faster than its Python interface."""
    program = str(Path(sys.executable).parent / "rustac")
    subprocess.run([program, "translate", source, target], check=True)
    return _rows(target)


def validate_ours(source: str, schema_dir: str) -> int:
    from stac_manager.files import read_lines
    from stac_manager.items import loads
    from stac_manager.validate import SchemaStore, Validator

    validator = Validator(SchemaStore([Path(schema_dir)] if schema_dir else [], offline=True))
    return sum(validator.check(loads(line)).verdict == "valid" for line in read_lines(Path(source)))


def sync_ours(workflow: str, mode: str) -> int:
    """All stages of the chain, with the command `stac-manager`."""
    from stac_manager.cli import run

    summary = Path(workflow).with_suffix(".json")
    assert run(["rebuild-catalog", "--config", workflow, "--mode", mode, "--summary", str(summary)]) == 0
    counts = json.loads(summary.read_text())
    return int(counts["added"] + counts["modified"])


def _lines(path: str) -> int:
    from stac_manager.files import read_lines

    return sum(1 for _ in read_lines(Path(path)))


def _rows(path: str) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).metadata.num_rows)


TASKS: dict[str, Callable[..., int]] = {
    name.replace("_", "-"): task
    for name, task in list(globals().items())
    if name.startswith(("fetch_", "parquet_", "validate_", "sync_"))
}


def main(task: str, *arguments: str) -> None:
    start, started = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    made = TASKS[task](*arguments)
    seconds = time.perf_counter() - start
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    memory = max(peaks) / 1024
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = round(usage.ru_utime + usage.ru_stime - started.ru_utime - started.ru_stime, 2)
    result: dict[str, Any] = {"seconds": round(seconds, 2), "cpu_s": cpu, "memory_mb": round(memory), "made": made}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
