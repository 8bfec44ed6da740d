"""Small plots for Dagster's pages: footprints, times and changes of items."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
import pyarrow.parquet as pq
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

__all__ = ["LIMIT", "changes_chart", "footprint_map", "timeline"]

LIMIT = 20_000
"""The greatest size of a plot in bytes, because Dagster's event log stores one for every materialization."""

_MOST_FOOTPRINTS = 2_000
"""Footprints in a plot; more need much time and are not visible."""
_BLUE = "#2a6fbb"
_COLORS = ("#3a923a", _BLUE, "#c0392b")


def footprint_map(parquet: Path) -> str:
    """Markdown with a PNG of the footprints in a stac-geoparquet file, or of an even sample if there are very many."""
    column = pq.read_table(parquet, columns=["geometry"], partitioning=None).column("geometry").to_pylist()
    found = [value for value in column if value is not None]
    sample = found[:: max(1, -(-len(found) // _MOST_FOOTPRINTS))]
    shapes = shapely.from_wkb(np.array(sample, dtype=object))

    def draw(axes: Axes) -> None:
        rings = [np.asarray(ring.coords)[:, :2] for shape in shapes for ring in _rings(shape)]
        patches = [Polygon(ring, closed=True) for ring in rings]
        axes.add_collection(
            PatchCollection(patches, facecolor=_BLUE, edgecolor=_BLUE, alpha=_alpha(len(patches)), lw=0.4)
        )
        points = shapely.get_coordinates(shapes)
        if len(points):
            axes.plot(points[:, 0], points[:, 1], ",", color=_BLUE, alpha=0.4)
        axes.margins(0.08)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("longitude")
        axes.set_ylabel("latitude")
        axes.grid(color="0.9")

    return _markdown("Footprints", draw, (4.6, 3.2))


def _rings(shape: shapely.Geometry) -> list[shapely.LinearRing]:
    parts = getattr(shape, "geoms", [shape])
    return [part.exterior for part in parts if isinstance(part, shapely.Polygon)]


def _alpha(count: int) -> float:
    return max(0.03, min(0.35, 12 / max(count, 1)))


def timeline(parquet: Path) -> str:
    """Markdown with a PNG of the number of items of a stac-geoparquet file on each day."""
    names = pq.read_schema(parquet).names
    columns = [name for name in ("datetime", "start_datetime") if name in names]
    table = pq.read_table(parquet, columns=columns, partitioning=None)
    values = [table.column(name).to_pylist() for name in columns]
    times: list[datetime] = [first for row in zip(*values, strict=True) if (first := next(filter(None, row), None))]

    def draw(axes: Axes) -> None:
        days = [time.replace(tzinfo=None) for time in times]
        span = (max(days) - min(days)).days + 1 if days else 1
        axes.hist(mdates.date2num(days), bins=_bins(span), color=_BLUE)  # type: ignore[no-untyped-call]
        locator = mdates.AutoDateLocator(maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_ylabel("items")
        axes.grid(axis="y", color="0.9")

    return _markdown("Timeline", draw, (4.6, 1.8))


def changes_chart(history: Sequence[tuple[float, Sequence[int]]], kinds: Sequence[str]) -> str:
    """Markdown with a PNG of stacked bars, one for each run in its order.

    Args:
        history: the time of each run (seconds since 1970), and a count for each kind.
        kinds: the names of the counts.
    """
    counts = np.array([values for _, values in history])
    days = [datetime.fromtimestamp(when, UTC) for when, _ in history]

    def draw(axes: Axes) -> None:
        positions = np.arange(len(history))
        base = np.zeros(len(history))
        for number, (kind, color) in enumerate(zip(kinds, _COLORS, strict=True)):
            axes.bar(positions, counts[:, number], bottom=base, label=kind, color=color)
            base += counts[:, number]
        shown = positions[:: max(1, -(-len(positions) // 6))]
        axes.set_xticks(shown, [f"{days[position]:%m-%d %H:%M}" for position in shown])
        axes.set_ylabel("items")
        axes.set_xlabel("runs (UTC)")
        axes.legend(frameon=False, ncols=len(kinds), loc="lower left", bbox_to_anchor=(0, 1))
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)

    return _markdown("Changes over time", draw, (4.6, 2.0))


def _bins(days: int) -> int:
    return max(1, min(days, 120))


def _markdown(title: str, draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    for dpi in (110, 80, 60, 45, 30):
        with mpl.rc_context({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False}):
            figure = Figure(figsize=size, dpi=dpi, layout="constrained")
            draw(figure.add_subplot())
            png = io.BytesIO()
            figure.savefig(png, format="png", metadata={"Software": None})
        if png.tell() <= LIMIT:
            break
    text = base64.b64encode(png.getvalue()).decode()
    return f"![{title}](data:image/png;base64,{text})"
