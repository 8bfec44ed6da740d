"""Run every benchmark and write the tables of docs/benchmarks.md.

python -m benchmarks.run [--only fetch|parquet|validate|sync] [--items 20000]
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

import click

from benchmarks.items import make_items
from stac_manager.files import write_items

ROOT = Path(__file__).parents[1]
PORT = 8990
URL = f"http://127.0.0.1:{PORT}"
Result = dict[str, float]


def contend(task: str, *arguments: str) -> Result:
    """Run one contender in its own process."""
    command = [sys.executable, "-m", "benchmarks.contenders", task, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr[-2000:]}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    click.echo(f"  {task}: {result}")
    return result


@contextmanager
def serving(items: int, delay: float = 0.2, days: int = 30) -> Iterator[None]:
    """The local STAC API, in its own process."""
    command = [sys.executable, "-m", "benchmarks.server", "--items", str(items), "--delay", str(delay)]
    command += ["--days", str(days)]
    server = subprocess.Popen([*command, "--port", str(PORT)], cwd=ROOT)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{URL}/", timeout=5).close()
                break
            except URLError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(timeout=10)


def requests_made() -> int:
    """The number of searches since the last call."""
    with urllib.request.urlopen(f"{URL}/count") as answer:
        return int(json.load(answer)["requests"])


def fetch(count: int, folder: Path) -> list[str]:
    """Fetching: ours, pystac-client and rustac against one server."""
    target = str(folder / "out.ndjson")
    rows = []
    with serving(count):
        for name, task in (
            ("pystac-client", "fetch-pystac-client"),
            ("rustac", "fetch-rustac"),
            ("stac-manager, concurrency 8", "fetch-ours"),
        ):
            result = contend(task, URL, target)
            asked = requests_made()
            assert result["made"] == count, f"{name} brought {result['made']} items"
            rows.append((name, result, asked))
        limited = contend("fetch-limited", URL, "10")
        asked = requests_made()
        ideal = asked / 10
    base = rows[0][1]["seconds"]
    lines = [
        f"## Fetch {count:,} items of 14 KB, 250 a page, each answer after 200 ms",
        "",
        "| | seconds | relative to pystac-client | peak memory | requests |",
        "|---|---|---|---|---|",
    ]
    for name, result, number in rows:
        share = result["seconds"] / base
        lines.append(f"| {name} | {result['seconds']:.1f} | {share:.2f} | {result['memory_mb']:.0f} MB | {number} |")
    lines += [
        "",
        f"With `rate_limit: 10` the {asked} requests took {limited['seconds']:.1f} s, start-up included and no file "
        f"written. At ten requests a second they need at least {ideal:.1f} s.",
    ]
    return lines


def memory(count: int, folder: Path) -> list[str]:
    """Memory of a fetch, also for ten times as many items."""
    target = str(folder / "out.ndjson.zst")
    peaks = []
    for number in (count, count * 10):
        with serving(number, 0.02):
            peaks.append(contend("fetch-ours", URL, target)["memory_mb"])
    return [
        "## Memory of a fetch",
        "",
        f"{count:,} items: {peaks[0]:.0f} MB; {count * 10:,} items: {peaks[1]:.0f} MB.",
    ]


def parquet(count: int, folder: Path) -> list[str]:
    """Items to stac-geoparquet."""
    source, target = str(folder / "items.ndjson"), str(folder / "out.parquet")
    write_items(source, make_items(count))
    names = {
        "stac-geoparquet": "parquet-stac-geoparquet",
        "rustac translate": "parquet-rustac",
        "stac-manager": "parquet-ours",
    }
    results = {name: contend(task, source, target) for name, task in names.items()}
    base = results["stac-geoparquet"]["seconds"]
    lines = [
        f"## Write {count:,} of those items as stac-geoparquet",
        "",
        "| | seconds | relative to stac-geoparquet | peak memory |",
        "|---|---|---|---|",
    ]
    for name, result in results.items():
        share = result["seconds"] / base
        lines.append(f"| {name} | {result['seconds']:.1f} | {share:.2f} | {result['memory_mb']:.0f} MB |")
    return lines


def validate(count: int, folder: Path) -> list[str]:
    """Validation of valid items against the core schema."""
    source = str(folder / "valid.ndjson")
    write_items(source, make_items(count))
    result = contend("validate-ours", source, "")
    rate = count / result["seconds"]
    return [
        "## Validate",
        "",
        f"{count:,} valid items against the core schema, reading included: {result['seconds']:.1f} s, "
        f"{rate:,.0f} items a second, {result['memory_mb']:.0f} MB.",
    ]


def sync(count: int, folder: Path) -> list[str]:
    """A full rebuild, and the cost of a sync when nothing or 1 % of the items changed."""
    count *= 5
    workflow = folder / "sync.yaml"
    workflow.write_text(_SYNC.format(url=URL, data=folder / "data"))
    rows = []
    with serving(count, 0.05, _DAYS):
        for name, change, mode in (
            ("full rebuild", None, "full"),
            ("", None, "incremental"),
            ("nothing changed", None, "incremental"),
            ("1 % changed, all of the latest day", "step=1&share=0.01", "incremental"),
            ("1 % changed, some of every day", "step=100&share=1", "incremental"),
        ):
            if change:
                urllib.request.urlopen(f"{URL}/change?{change}").close()
            result = contend("sync-ours", str(workflow), mode)
            asked = requests_made()
            assert result["made"] == (count // 100 if change else count if mode == "full" else 0), result
            rows.append((name, result, asked))
    base = rows[0]
    lines = [
        f"## Sync {count:,} items: {_DAYS} daily partitions, all five stages, each answer after 50 ms",
        "",
        "| | seconds | relative to full | CPU seconds | relative to full | requests | relative to full | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result, asked in rows:
        if name:
            seconds, cpu = result["seconds"] / base[1]["seconds"], result["cpu_s"] / base[1]["cpu_s"]
            lines.append(
                f"| {name} | {result['seconds']:.1f} | {seconds:.3f} | {result['cpu_s']:.1f} | {cpu:.3f} | {asked} | "
                f"{asked / base[2]:.3f} | {result['memory_mb']:.0f} MB |"
            )
    lines += [
        "",
        "When nothing changed, half of the time is the start of Python. The rest is the sync check: the search for "
        "updates, the window probes of the latest partitions, and the full comparison of a part of the collection "
        "([how sync works](sync.md)). When some items of every day changed, every Parquet file is written and checked "
        "again. This run saves only fetching and validation.",
    ]
    return lines


_DAYS = 100
_SYNC = """
workflow: {{name: bench}}
source: {{catalog_url: "{url}", collections: [scenes]}}
validation: {{offline: true}}
output: {{path: {data}}}
partitions: {{by: day, start: "2024-06-01", end: "2024-09-08"}}
processing: {{concurrency: 8}}
"""


SECTIONS = {"fetch": fetch, "memory": memory, "parquet": parquet, "validate": validate, "sync": sync}


def _about() -> list[str]:
    tools = ("stac-manager", "pystac-client", "rustac", "stac-geoparquet", "jsonschema-rs")
    versions = ", ".join(f"{name} {version(name)}" for name in tools)
    return [
        "# Benchmarks",
        "",
        "`make bench` makes this page. Every contender runs in a process of its own, against one local server, in one "
        "run.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores; {versions}.",
    ]


@click.command()
@click.option("--only", "sections", multiple=True, type=click.Choice(list(SECTIONS)), help="May be repeated.")
@click.option("--items", default=20_000, show_default=True)
@click.option("--write/--no-write", default=True, help="Write docs/benchmarks.md (only when all sections run).")
def main(sections: tuple[str, ...], items: int, write: bool) -> None:
    """Measure, print, and write the tables."""
    parts = [_about()]
    with tempfile.TemporaryDirectory() as folder:
        for name in sections or SECTIONS:
            click.echo(f"{name}:")
            parts.append(SECTIONS[name](items, Path(folder)))
    text = "\n\n".join("\n".join(lines) for lines in parts) + "\n"
    click.echo(text)
    if write and not sections:
        (ROOT / "docs" / "benchmarks.md").write_text(text)


if __name__ == "__main__":
    main()
