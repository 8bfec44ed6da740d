"""The plots of docs/benchmarks.md, as SVG. The colours, by Okabe and Ito, suit colour-blind readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import KIND_NAMES, cell, stage_costs

__all__ = ["draw"]

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"
_KIND_STYLES = {"sentinel-2": (_BLUE, "o"), "mix": (_ORANGE, "s")}
_TOOL_STYLES = {"stac-manager": (_BLUE, "o"), "pystac-client": (_ORANGE, "s"), "stac-geoparquet": (_ORANGE, "s")}
_TOOL_STYLES["rustac"] = (_GREEN, "^")
_CALL_COLOURS = (_BLUE, _ORANGE, _GREEN, _RED, "#CC79A7", "#56B4E9", "#F0E442")


def draw(results: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw what was measured; gives the path of each plot, relative to the page, by section."""
    import matplotlib as mpl

    mpl.use("svg")
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "benchmarks",
        "font.size": 9,
        "font.family": "sans-serif",
    }
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _GREY, "legend.frameon": False}
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    sections = results["sections"]
    with mpl.rc_context(settings):
        for name, needed, plot in (
            ("fetch", "fetch", _fetch_memory),
            ("parquet", "parquet", _parquet_memory),
            ("stages", "stages", _stages),
            ("bucket", "bucket", _bucket),
        ):
            figure = plot(sections[needed]) if needed in sections else None
            if figure is None:
                continue
            path = folder / f"bench-{name}.svg"
            figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
            drawn[name] = f"{folder.name}/{path.name}"
    return drawn


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=True)


def _stages(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Items a second a core: points on a logarithmic axis, because stages differ by a hundred times."""
    measured = {kind: next((row for row in its if "stages" in row), None) for kind, its in rows.items()}
    found = {kind: row for kind, row in measured.items() if row}
    if not found:
        return None
    figure, axes = _figure(6.4, 2.9)
    names: list[str] = []
    for number, (kind, row) in enumerate(found.items()):
        costs = [(stage, cost["cpu_s"]) for stage, cost in stage_costs(row) if stage != "collection documents"]
        costs.append(("all stages", sum(cost["cpu_s"] for _, cost in stage_costs(row))))
        names = [stage for stage, _ in costs]
        colour, marker = _KIND_STYLES[kind]
        for place, (_, spent) in enumerate(costs):
            rate = row["items"] / max(spent, 1e-9)
            height = place + (number - 0.5) * 0.36
            axes.plot(rate, height, marker, color=colour, label=KIND_NAMES[kind] if not place else None)
            axes.annotate(cell(rate), (rate, height), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("items a second a core, checks included (more is better)")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    _plain_numbers(axes.xaxis)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _fetch_memory(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    return _memory(rows, ("pystac-client", "rustac", "stac-manager"))


def _parquet_memory(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    return _memory(rows, ("stac-geoparquet, from items", "rustac translate", "stac-manager, library"))


def _memory(rows: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str]) -> Any:
    """Memory over items, for each kind of items a panel."""
    from matplotlib.ticker import LogLocator

    figure, panels = _figure(6.8, 2.7, len(rows))
    for axes, (kind, its) in zip([panels] if len(rows) == 1 else panels, rows.items(), strict=True):
        for name in names:
            points = sorted(
                (row["items"], row["memory_mb"]) for row in its if row["name"] == name and "error" not in row
            )
            tool = name.split(",")[0].split(" ")[0]
            colour, marker = _TOOL_STYLES[tool]
            if points:
                axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=tool, linewidth=1.5)
                text = f"{points[-1][1]:,} MB"
                axes.annotate(text, points[-1], (0, 6), textcoords="offset points", ha="center", fontsize=8)
        axes.set_title(KIND_NAMES[kind], fontsize=9)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.15, y=0.18)
        axes.set_xlabel("items")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_xticks(sorted({row["items"] for row in its}))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
        axes.minorticks_off()
    first = panels if len(rows) == 1 else panels[0]
    first.set_ylabel("peak memory, MB")
    handles = {
        text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(names))
    return figure


def _bucket(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Calls of a sync check, stacked by kind, over partitions."""
    checks = [row for row in rows["all"] if row["partitions"] > 1 and "error" not in row]
    if not checks:
        return None
    kinds = sorted(
        {kind for row in checks for kind in row["calls"]}, key=lambda kind: -checks[-1]["calls"].get(kind, 0)
    )
    figure, axes = _figure(6.4, 2.7)
    below = [0] * len(checks)
    for colour, kind in zip(_CALL_COLOURS, kinds, strict=False):
        heights = [row["calls"].get(kind, 0) for row in checks]
        axes.bar(
            range(len(checks)), heights, 0.55, bottom=below, color=colour, label=kind, edgecolor="white", linewidth=0.5
        )
        below = [low + high for low, high in zip(below, heights, strict=True)]
    for place, (row, total) in enumerate(zip(checks, below, strict=True)):
        text = f"{total:,} calls, {cell(row['seconds'])} s"
        axes.annotate(text, (place, total), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xticks(range(len(checks)), [f"{row['partitions']:,}" for row in checks])
    axes.set_xlabel("partitions of the catalog")
    axes.set_ylabel("calls of a sync check")
    axes.margins(y=0.12)
    _plain_numbers(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=len(kinds))
    return figure


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())
