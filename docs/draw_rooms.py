"""Draw docs/images/rooms.svg from the imports of the code: `make docs`. A test holds that the picture is current."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "rooms.svg"

_HELPERS = "helpers"
_OWN_ROOMS = {
    "cli",
    "pipeline",
    "discovery",
    "ingest",
    "transform",
    "extension",
    "validate",
    "output",
    "config",
    "http",
}
_PIPELINE = ("changes", "stages", "state", "sync")
_AT_THE_SIDE = {"stac_assets": 0.55, "resources": 0, "partitions": 1.1}
"""Columns beside the library, for the rooms of Dagster."""

_SHIFTED = {"pipeline/changes": -1.2, "ingest": -1.2}
"""Rooms moved by so many columns, so that arrows do not run behind them."""

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 62, 26, 58, 20
_FONT = "font-family='Helvetica, Arial, sans-serif'"


def room_of(module: str) -> str | None:
    """The room that a module belongs to; None for other people's modules."""
    parts = module.split(".")
    if parts[0] in ("stac_assets", "resources", "partitions"):
        return parts[0]
    if parts[0] != "stac_manager":
        return None
    if len(parts) == 1:
        return None
    if parts[1] == "pipeline":
        return f"pipeline/{parts[2]}" if len(parts) > 2 and parts[2] in _PIPELINE else "pipeline"
    return parts[1] if parts[1] in _OWN_ROOMS else _HELPERS


def imported(path: Path) -> Iterable[str]:
    """The modules that a file imports when it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def rooms() -> dict[str, set[str]]:
    """Each room, and the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for top in ("stac_manager", "stac_assets", "resources", "partitions"):
        for path in sorted((ROOT / top).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            room = room_of(module)
            if room is not None:
                targets = {target for name in imported(path) if (target := room_of(name))}
                found.setdefault(room, set()).update(targets - {room})
    return found


def files_of(room: str) -> list[str]:
    """The names of the files or folders directly in a room."""
    if room == _HELPERS:
        names = {path.stem for path in (ROOT / "stac_manager").iterdir() if path.suffix == ".py"}
        return sorted(names - _OWN_ROOMS - {"__init__"})
    place = ROOT / (room if (ROOT / room / "__init__.py").exists() else f"stac_manager/{room}")
    if place.with_suffix(".py").exists():
        return []
    found = (path for path in place.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
    names = {path.stem for path in found} - {"__init__", "__main__"}
    return sorted(names - set(_PIPELINE) if room == "pipeline" else names)


def heights(graph: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: above every room that it imports; rooms in a circle share one."""
    floors = dict.fromkeys(graph, 0)
    for _ in graph:
        for room, targets in graph.items():
            above = [floors[target] + 1 for target in targets if room not in _reachable(graph, target)]
            floors[room] = max([floors[room], *above])
    return floors


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for target in graph.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def arrows(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports without those that follow from others, so that the picture stays readable."""
    kept = []
    for room, targets in sorted(graph.items()):
        for target in sorted(targets):
            others = targets - {target}
            if not any(target in _reachable(graph, other) and room not in _reachable(graph, other) for other in others):
                kept.append((room, target))
    return kept


def draw() -> str:
    """The picture as SVG; the same imports give the same text."""
    graph = rooms()
    floors = heights(graph)
    rows = [sorted(room for room in graph if floors[room] == floor) for floor in range(max(floors.values()), -1, -1)]
    widest = max(sum(room not in _AT_THE_SIDE for room in row) for row in rows)
    main = widest * (_WIDTH + _GAP_X)
    width = 2 * _MARGIN + main + (max(_AT_THE_SIDE.values()) + 1) * (_WIDTH + _GAP_X)
    height = 2 * _MARGIN + len(rows) * _HEIGHT + (len(rows) - 1) * _GAP_Y
    corners: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        top = _MARGIN + number * (_HEIGHT + _GAP_Y)
        centred = [room for room in row if room not in _AT_THE_SIDE]
        left = _MARGIN + (main - len(centred) * (_WIDTH + _GAP_X)) / 2
        for place, room in enumerate(centred):
            corners[room] = (left + (place + _SHIFTED.get(room, 0)) * (_WIDTH + _GAP_X), top)
        for room in set(row) & _AT_THE_SIDE.keys():
            corners[room] = (_MARGIN + main + _AT_THE_SIDE[room] * (_WIDTH + _GAP_X), top)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'>",
        "<title>The rooms of the code, and what each imports</title>",
        "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        "<path d='M0,0 L8,4 L0,8 z' fill='#777'/></marker></defs>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
    ]
    parts += [_arrow(corners[room], corners[target]) for room, target in arrows(graph)]
    parts += [_box(room, *corners[room]) for room in sorted(corners)]
    return "\n".join([*parts, "</svg>", ""])


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + _WIDTH / 2, start[1] + _HEIGHT
    x2, y2 = end[0] + _WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    return (
        f"<path d='M{x1:g},{y1:g} C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}' fill='none' stroke='#999' "
        "stroke-width='1.2' marker-end='url(#tip)'/>"
    )


def _box(room: str, left: float, top: float) -> str:
    color = "#dbe8f7" if room in ("stac_assets", "resources", "partitions") else "#eef5e8"
    lines = _wrapped(files_of(room))
    text = "".join(
        f"<text x='{left + _WIDTH / 2:g}' y='{top + 33 + 11 * number:g}' {_FONT} font-size='9' fill='#444' "
        f"text-anchor='middle'>{escape(line)}</text>"
        for number, line in enumerate(lines)
    )
    return (
        f"<rect x='{left:g}' y='{top:g}' width='{_WIDTH}' height='{_HEIGHT}' rx='6' fill='{color}' stroke='#666'/>"
        f"<text x='{left + _WIDTH / 2:g}' y='{top + 18:g}' {_FONT} font-size='13' font-weight='bold' "
        f"text-anchor='middle'>{escape(room)}</text>{text}"
    )


def _wrapped(names: list[str]) -> list[str]:
    lines = [""]
    for name in names:
        longer = f"{lines[-1]}, {name}" if lines[-1] else name
        if len(longer) <= 40:
            lines[-1] = longer
        elif len(lines) == 3:
            lines[-1] += ", …"
            break
        else:
            lines.append(name)
    return lines


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
