"""One contender, one task, one process. It prints what it made, and what it measured itself, as JSON.

`benchmarks.processes` measures time and memory of the whole process from outside.

python -m benchmarks.contenders fetch-ours http://127.0.0.1:8990 out.ndjson 2024-06-01T00:00:00Z/2024-07-01T00:00:00Z
"""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAGE = 250


def fetch_ours(url: str, target: str, interval: str) -> int:
    """The command `fetch-items`."""
    from stac_manager.cli import run

    arguments = ["fetch-items", "--catalog-url", url, "--collection-id", "scenes", "--datetime", interval]
    limits = ["--concurrency", "8", "--rate-limit", "0", "--page-size", str(PAGE)]
    assert run([*arguments, *limits, "--output", target]) == 0
    return _lines(target)


def fetch_pystac_client(url: str, target: str, interval: str) -> int:
    """Pages as dicts: no object is made for an item."""
    import orjson
    from pystac_client import Client

    search = Client.open(url).search(collections=["scenes"], datetime=interval, limit=PAGE)
    with Path(target).open("wb") as file:
        for page in search.pages_as_dicts():
            file.writelines(orjson.dumps(item) + b"\n" for item in page["features"])
    return _lines(target)


def fetch_rustac(url: str, target: str, interval: str) -> int:
    """The Python interface; it writes the file itself."""
    import rustac

    async def search() -> int:
        return int(await rustac.search_to(target, url, collections=["scenes"], datetime=interval, limit=PAGE))

    return asyncio.run(search())


def parquet_ours(source: str, target: str) -> int:
    """The library."""
    from stac_manager.files import read_lines
    from stac_manager.items import loads
    from stac_manager.output import write_geoparquet

    return write_geoparquet(lambda: map(loads, read_lines(Path(source))), Path(target)).rows


def parquet_ours_command(source: str, target: str) -> int:
    """The command `output`, which also keeps each id once."""
    from stac_manager.cli import run

    assert run(["output", "--input", source, "--format", "parquet", "--output", target]) == 0
    return _rows(target)


def parquet_from_items(source: str, target: str, schema: str = "FullFile") -> int:
    """stac-geoparquet, from items in memory."""
    import orjson
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    with Path(source).open("rb") as file:
        items = [orjson.loads(line) for line in file]
    to_parquet(parse_stac_items_to_arrow(items, schema=schema), target)
    return _rows(target)


def parquet_in_chunks(source: str, target: str) -> int:
    """stac-geoparquet, from items as a stream, in chunks that it writes to the disk."""
    import orjson
    from stac_geoparquet.arrow import parse_stac_items_to_parquet

    with Path(source).open("rb") as file:
        items = map(orjson.loads, file)
        parse_stac_items_to_parquet(items, output_path=target, schema="ChunksToDisk")
    return _rows(target)


def parquet_from_ndjson(source: str, target: str) -> int:
    """stac-geoparquet, from the file."""
    from stac_geoparquet.arrow import parse_stac_ndjson_to_parquet

    parse_stac_ndjson_to_parquet(source, target)
    return _rows(target)


def parquet_rustac(source: str, target: str) -> int:
    """The command of rustac, which is faster than its Python interface."""
    done = subprocess.run(
        [_program("rustac"), "translate", source, target], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr or f"exit code {done.returncode}")
    return _rows(target)


def start(program: str, times: str = "10") -> dict[str, Any]:
    """How long `<program> --help` takes, after one run that is not counted."""
    command = [_program(program), "--help"]
    taken = []
    for _ in range(int(times) + 1):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - started)
    return {"made": int(times), "times_s": [round(seconds, 3) for seconds in taken[1:]]}


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _lines(path: str) -> int:
    with Path(path).open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _rows(path: str) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).metadata.num_rows)


TASKS = {
    "fetch-ours": "contenders.fetch_ours",
    "fetch-pystac-client": "contenders.fetch_pystac_client",
    "fetch-rustac": "contenders.fetch_rustac",
    "parquet-ours": "contenders.parquet_ours",
    "parquet-ours-command": "contenders.parquet_ours_command",
    "parquet-from-items": "contenders.parquet_from_items",
    "parquet-in-chunks": "contenders.parquet_in_chunks",
    "parquet-from-ndjson": "contenders.parquet_from_ndjson",
    "parquet-rustac": "contenders.parquet_rustac",
    "start": "contenders.start",
    "validate-ours": "validators.ours",
    "validate-ours-reading": "validators.ours_reading",
    "validate-jsonschema-rs": "validators.jsonschema_rs_alone",
    "validate-stac-validator": "validators.stac_validator_normal",
    "validate-stac-validator-fast": "validators.stac_validator_fast",
    "chain-command": "chains.command",
    "chain-stages": "chains.stages",
    "chain-build": "chains.build",
    "upload": "chains.upload",
    "chain-plan": "chains.plan",
}
"""Name -> module and function. A module is imported only for its own tasks."""


def main(task: str, *arguments: str) -> None:
    """Run a task."""
    module, function = TASKS[task].split(".")
    home = globals() if module == "contenders" else vars(importlib.import_module(f"benchmarks.{module}"))
    made = home[function](*arguments)
    sys.stdout.write(json.dumps(made if isinstance(made, dict) else {"made": made}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
