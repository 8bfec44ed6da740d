"""The page docs/benchmarks.md, from the numbers of benchmarks/results.json.

python -m benchmarks.report benchmarks/results.json docs
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.texts import INTRODUCTION, SECTIONS, UNITS

__all__ = ["KIND_NAMES", "cell", "page", "stage_costs"]

Row = Mapping[str, Any]

KIND_NAMES = {"sentinel-2": "Sentinel-2", "mix": "Mix of five providers"}


def page(results: Row, plots: Mapping[str, str]) -> str:
    """The page.

    Args:
        results: what `benchmarks.run` measured.
        plots: section -> path of its plot, relative to the page.
    """
    sizes = results["sizes"]
    numbers = {**sizes, "count": f"{sizes['items']:,}", "sync_count": f"{sizes['sync_items']:,}"}
    parts = [_intro(results)]
    for name, rows in results["sections"].items():
        text = SECTIONS[name]
        lines = [f"## {text.title.format(**numbers)}", "", text.text]
        if name in plots:
            lines += ["", f"![{text.plot}]({plots[name]})"]
        for kind, its_rows in rows.items():
            heading = [f"**{KIND_NAMES[kind]}**", ""] if kind in KIND_NAMES else []
            lines += ["", *heading, *_TABLES[name](its_rows)]
        parts.append(lines)
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _intro(results: Row) -> list[str]:
    return [
        "# Benchmarks",
        "",
        INTRODUCTION,
        "",
        *(f"- **{KIND_NAMES[kind]}**: {text}." for kind, text in results["items"].items()),
        f"- **Machine**: {results['cores']} cores ({results['processor']}), Python {results['python']}.",
        "- **Versions**: " + ", ".join(f"{name} {version}" for name, version in results["versions"].items()) + ".",
        *UNITS,
    ]


def _fetch(rows: Sequence[Row]) -> list[str]:
    most = _sizes(rows)
    base = _seconds(rows, "pystac-client")
    lines = _table(
        ("", "seconds", "of pystac-client", "items/s", "items/s a core", "peak memory", "requests"),
        [
            (
                *_timed(row),
                _ratio(row, base),
                _rate(row, "seconds"),
                _rate(row, "cpu_s"),
                _memory(row),
                str(row["requests"]),
            )
            if "error" not in row
            else _failed(row, 7)
            for row in rows
            if row["items"] == most[1]
        ],
    )
    return [*lines, "", _memory_line(rows, "stac-manager"), *_notes(rows)]


def _parquet(rows: Sequence[Row]) -> list[str]:
    sizes = _sizes(rows)
    main = [row for row in rows if row["items"] == sizes[1]]
    peers = [row for row in main if row["name"].startswith("stac-geoparquet") and "error" not in row]
    base = min((row["seconds"] for row in peers), default=None)
    rustac = _seconds(main, "rustac translate")
    lines = _table(
        ("", "seconds", "of stac-geoparquet", "of rustac", "items/s", "items/s a core", "peak memory", "file"),
        [
            (
                *_timed(row),
                _ratio(row, base),
                _ratio(row, rustac),
                _rate(row, "seconds"),
                _rate(row, "cpu_s"),
                _memory(row),
                f"{cell(row['file_mb'])} MB",
            )
            if "error" not in row
            else _failed(row, 8)
            for row in main
        ],
    )
    return [*lines, "", _memory_line(rows, "stac-manager, library"), *_notes(rows)]


def _validate(rows: Sequence[Row]) -> list[str]:
    lines = _table(
        ("", "items", "microseconds an item", "items/s a core", "valid", "peak memory"),
        [
            (
                row["name"],
                f"{row['items']:,}",
                _spread(row, 1e6 / row["items"]),
                _rate(row, "cpu_s"),
                f"{row['valid']:,}",
                _memory(row),
            )
            if "error" not in row
            else _failed(row, 6)
            for row in rows
        ],
    )
    return [*lines, "", _verdicts(rows)]


def _verdicts(rows: Sequence[Row]) -> str:
    """How far the verdicts on broken items agree with those of stac-validator."""
    known = {row["name"]: row["verdicts"] for row in rows if "verdicts" in row}
    reference = known.pop("stac-validator", None)
    if not reference:
        return "There is no verdict of stac-validator to compare with."
    parts = []
    for name, verdicts in known.items():
        pairs = list(zip(reference, verdicts, strict=False))
        same = sum(one == other for one, other in pairs)
        parts.append(f"{name}: the same verdict on {same} of {len(pairs)}")
    valid = sum(reference)
    return (
        f"Verdicts on {len(reference)} items, half of them broken on purpose; stac-validator finds {valid} valid and "
        f"{len(reference) - valid} invalid. {'; '.join(parts)}."
    )


def stage_costs(row: Row) -> list[tuple[str, dict[str, float]]]:
    """Seconds and CPU seconds by stage, the checks of the stage included."""
    costs: dict[str, dict[str, float]] = {}
    for name, taken in row["stages"].items():
        stage = name.removesuffix(" checks")
        total = costs.setdefault(stage, {"seconds": 0.0, "cpu_s": 0.0, "checks_s": 0.0})
        for unit in ("seconds", "cpu_s"):
            total[unit] += taken[unit]
        if name != stage:
            total["checks_s"] += taken["cpu_s"]
    return list(costs.items())


def _stages(rows: Sequence[Row]) -> list[str]:
    lines = []
    apart = next((row for row in rows if "stages" in row), None)
    if apart:
        whole = sum(cost["cpu_s"] for _, cost in stage_costs(apart))
        lines += _table(
            ("stage", "seconds", "CPU seconds", "of them for checks", "share", "items/s a core"),
            [
                (
                    stage,
                    cell(cost["seconds"]),
                    cell(cost["cpu_s"]),
                    cell(cost["checks_s"]),
                    f"{cost['cpu_s'] / whole:.0%}",
                    cell(apart["items"] / cost["cpu_s"]) if cost["cpu_s"] else "",
                )
                for stage, cost in stage_costs(apart)
            ],
        )
        lines.append("")
    lines += _table(
        ("all stages", "seconds", "CPU seconds", "items/s", "items/s a core", "peak memory"),
        [
            (*_timed(row), cell(row["cpu_s"]), _rate(row, "seconds"), _rate(row, "cpu_s"), _memory(row))
            if "error" not in row
            else _failed(row, 6)
            for row in rows
            if "stages" not in row
        ],
    )
    return [*lines, *_notes(rows)]


def _sync(rows: Sequence[Row]) -> list[str]:
    base = next((row for row in rows if "error" not in row), None)
    if not base:
        return [row["error"] for row in rows]
    return [
        *_table(
            ("", "seconds", "of full", "CPU seconds", "of full", "requests", "of full", "peak memory"),
            [
                (
                    *_timed(row),
                    _ratio(row, base["seconds"]),
                    cell(row["cpu_s"]),
                    _share(row["cpu_s"], base["cpu_s"]),
                    str(row["requests"]),
                    _share(row["requests"], base["requests"]),
                    _memory(row),
                )
                if "error" not in row
                else _failed(row, 8)
                for row in rows
            ],
        ),
        *_notes(rows),
    ]


def _start(rows: Sequence[Row]) -> list[str]:
    cells = []
    for row in rows:
        times = sorted(row.get("times_s", []))
        cells.append(
            (f"`{row['name']}`", f"{times[0]:.2f}", f"{statistics.median(times):.2f}", f"{times[-1]:.2f}")
            if times
            else _failed(row, 4)
        )
    return _table(("", "fastest of 10, seconds", "median", "slowest"), cells)


def _bucket(rows: Sequence[Row]) -> list[str]:
    kinds = sorted({kind for row in rows for kind in row["calls"]})
    return _table(
        ("", "partitions", "seconds", "calls", *kinds, "seconds without the delay"),
        [
            (
                row["name"],
                f"{row['partitions']:,}",
                cell(row["seconds"]),
                f"{sum(row['calls'].values()):,}",
                *(f"{row['calls'].get(kind, 0):,}" for kind in kinds),
                cell(row["undelayed_s"]) if row.get("undelayed_s") else "",
            )
            if "error" not in row
            else _failed(row, 5 + len(kinds))
            for row in rows
        ],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _failed(row: Row, columns: int) -> tuple[str, ...]:
    return (row["name"], f"failed: {row['error'].replace('|', ' ')}", *[""] * (columns - 2))


def cell(value: float) -> str:
    """A number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _timed(row: Row) -> tuple[str, str]:
    return row["name"], _spread(row, 1.0)


def _spread(row: Row, factor: float) -> str:
    text = cell(row["seconds"] * factor)
    if row.get("runs", 1) > 1:
        text += f" ({cell(row['least_s'] * factor)} to {cell(row['most_s'] * factor)})"
    return text


def _seconds(rows: Sequence[Row], name: str) -> float | None:
    """The seconds of the largest run of a contender."""
    found = [row for row in rows if row["name"] == name and "error" not in row]
    return float(max(found, key=lambda row: row["items"])["seconds"]) if found else None


def _ratio(row: Row, base: float | None) -> str:
    return _share(row["seconds"], base)


def _share(part: float, whole: float | None) -> str:
    return f"{part / whole:.2f}" if whole else ""


def _rate(row: Row, unit: str) -> str:
    return cell(row["items"] / row[unit]) if row[unit] else ""


def _memory(row: Row) -> str:
    return f"{row['memory_mb']:,} MB"


def _sizes(rows: Sequence[Row]) -> list[int]:
    """The smaller, the usual and the largest number of items."""
    return sorted({row["items"] for row in rows})


def _memory_line(rows: Sequence[Row], name: str) -> str:
    mine = [row for row in rows if row["name"] == name and "error" not in row]
    return f"Memory of {name}: " + ", ".join(f"{row['items']:,} items {_memory(row)}" for row in mine) + "."


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [f"{row['name']}: {row['note']}." for row in rows if "note" in row]
    return ["", *notes] if notes else []


_TABLES: dict[str, Callable[[Sequence[Row]], list[str]]] = {
    "fetch": _fetch,
    "parquet": _parquet,
    "validate": _validate,
    "stages": _stages,
    "sync": _sync,
    "start": _start,
    "bucket": _bucket,
}


def main(data: str, folder: str) -> None:
    """Write the page and its plots again from the numbers, without measuring."""
    from benchmarks import plots

    results = json.loads(Path(data).read_text())
    drawn = plots.draw(results, Path(folder) / "images")
    (Path(folder) / "benchmarks.md").write_text(page(results, drawn))


if __name__ == "__main__":
    main(*sys.argv[1:])
