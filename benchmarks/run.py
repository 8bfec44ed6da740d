"""Run the benchmark, and write docs/benchmarks.md, its plots, and benchmarks/results.json.

python -m benchmarks.run                                      everything; docs/ is written anew
python -m benchmarks.run --quick --output /tmp/bench          small numbers, to try it
python -m benchmarks.run --only parquet --items 5000          one section, only shown
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.buckets import bucket
from benchmarks.items import KINDS, describe
from benchmarks.processes import ROOT, Runner
from benchmarks.sections import KIND_SECTIONS, Sizes, start

_TOOLS = ("stac-manager", "pystac-client", "rustac", "stac-geoparquet", "stac-valid", "jsonschema-rs", "pyarrow")
_SECTIONS = (*KIND_SECTIONS, "start", "bucket")


def measure(section: str, kinds: tuple[str, ...], runner: Runner, sizes: Sizes) -> dict[str, Any]:
    """The rows of a section: by kind of items, or under `all` where the kind does not matter."""
    rows = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if section in KIND_SECTIONS:
            for kind in kinds:
                click.echo(f"{section}, {kind}:")
                place = Path(folder) / kind
                place.mkdir()
                rows[kind] = KIND_SECTIONS[section](runner, sizes, kind, place)
                shutil.rmtree(place)
        else:
            click.echo(f"{section}:")
            run = {"start": start, "bucket": bucket}[section]
            rows["all"] = run(runner, sizes, Path(folder))
    return rows


def _about(sizes: Sizes) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "versions": {name: version(name) for name in _TOOLS},
        "items": {kind: describe(kind) for kind in KINDS},
        "sizes": dataclasses.asdict(sizes),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(results: dict[str, Any], page: Path, images: Path, data: Path) -> None:
    """Write the page, its plots and the numbers."""
    from benchmarks import plots, report

    images.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps(results, indent=1) + "\n")
    drawn = plots.draw(results, images)
    page.write_text(report.page(results, drawn))


@click.command()
@click.option("--only", "sections", multiple=True, type=click.Choice(_SECTIONS), help="May be repeated.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="May be repeated; else all.")
@click.option("--items", type=int, help="Items of fetch, parquet, validate and stages.  [default: 20000]")
@click.option("--sync-items", type=int, help="Items of sync, in 100 partitions.  [default: 20000]")
@click.option("--partitions", type=int, help="Most partitions of bucket.  [default: 4000]")
@click.option("--repeat", default=3, show_default=True, help="How often a run of less than 10 seconds is made.")
@click.option("--repeat-long", default=1, show_default=True, help="How often a longer run is made.")
@click.option("--quick", is_flag=True, help="Small numbers, to try the benchmark; they mean nothing.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the page, the plots and the numbers. Sections that are not run are kept, if they were made with "
    "the same sizes.  [default: docs/ if everything is run at full size, else nothing is written]",
)
def main(
    sections: tuple[str, ...],
    kinds: tuple[str, ...],
    items: int | None,
    sync_items: int | None,
    partitions: int | None,
    repeat: int,
    repeat_long: int,
    quick: bool,
    output: Path | None,
) -> None:
    """Measure, show, and write the page."""
    full = not (sections or kinds or items or sync_items or partitions or quick)
    sizes = Sizes.quick() if quick else Sizes()
    changes: dict[str, Any] = {"items": items, "sync_items": sync_items}
    if partitions:
        changes["partitions"] = tuple(sorted({max(1, partitions // 16), max(1, partitions // 4), partitions}))
    sizes = dataclasses.replace(sizes, **{name: value for name, value in changes.items() if value})
    runner = Runner(repeat, repeat_long)
    places = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "images", ROOT / "benchmarks" / "results.json")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        places = (output / "benchmarks.md", output / "images", output / "results.json")
    kept = _kept(places[2], sizes) if output else {}
    started = time.monotonic()
    rows = dict(kept)
    results: dict[str, Any] = {}
    for section in sections or _SECTIONS:
        rows[section] = {**kept.get(section, {}), **measure(section, kinds or tuple(KINDS), runner, sizes)}
        in_order = {name: rows[name] for name in _SECTIONS if name in rows}
        results = {
            "sizes": dataclasses.asdict(sizes),
            "took_s": round(time.monotonic() - started),
            "sections": in_order,
        }
        if output:  # what is interrupted continues from here
            places[2].write_text(json.dumps(results, indent=1) + "\n")
    results = {**_about(sizes), **results}  # not before: it takes memory, which the contenders would seem to take
    if full or output:
        write(results, *places)
    from benchmarks import report

    click.echo(report.page(results, {}))
    click.echo(f"took {results['took_s'] / 60:.0f} minutes")


def _kept(path: Path, sizes: Sizes) -> dict[str, Any]:
    """The sections of an earlier run with the same sizes."""
    earlier = json.loads(path.read_text()) if path.exists() else {}
    same = earlier.get("sizes") == json.loads(json.dumps(dataclasses.asdict(sizes)))
    return dict(earlier["sections"]) if same else {}


if __name__ == "__main__":
    main()
