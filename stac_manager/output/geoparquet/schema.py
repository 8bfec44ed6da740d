"""The columns that a set of rows needs, and the items to reject if the values of a column do not have one type.

The types are collected in a tree of `Node`s: for each path in a row, the kinds of the values there. One kind, or kinds
that can be widened to one, give an Arrow type. Other kinds are a conflict: the type of most items wins.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from stac_manager.output.geoparquet.rows import TIMES, TOP_LEVEL, Path, Row, UnrepresentableItem

__all__ = [
    "ELEMENT",
    "LARGE",
    "Layout",
    "Node",
    "TypeVotes",
    "base_tree",
    "conflicts",
    "layout_of",
    "observe",
    "outvoted",
    "path_text",
    "type_votes",
]

ELEMENT = "\0"
"""The name of "any element of the list" in a path; no member of a written item has this name."""

_EXACT = 2**53
_INT64 = 2**63
_MAX_DEPTH = 32
"""Arrow's C data interface, which the readers use, allows 64 levels; a list of objects counts as two."""

_KINDS: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "float",
    bool: "boolean",
    list: "list",
    dict: "object",
}
LARGE = "integer beyond 2^53"
"""A kind of value: an integer that no double can represent exactly."""
_GROUPS = {"integer": "number", "float": "number", LARGE: "number"}
_ORDER = ("string", "number", "boolean", "list", "object", "bbox of 4", "bbox of 6", "float", LARGE)
"""The order that decides a tie: the first kind wins."""


class Node:
    """The kinds of the values at one path, and the nodes below it."""

    __slots__ = ("element", "fields", "kinds")

    def __init__(self, *kinds: str, element: Node | None = None, **fields: Node) -> None:
        self.kinds = set(kinds)
        self.fields = fields
        self.element = element


def base_tree() -> Node:
    """The columns that every file has."""
    return Node(
        "object",
        type=Node("string"),
        stac_version=Node("string"),
        stac_extensions=Node("list", element=Node("string")),
        id=Node("string"),
        geometry=Node("geometry"),
        bbox=Node(),
        links=Node("list", element=Node("object", href=Node("string"), rel=Node("string"))),
        assets=Node("object"),
        collection=Node("string"),
        datetime=Node("time"),
    )


def observe(tree: Node, row: Row) -> UnrepresentableItem | None:
    """Add the kinds of a row to the tree of all rows; a row that no column can represent is returned instead."""
    members = orjson.loads(row.json)
    unrepresentable = None if _is_representable(members, 0) else _unrepresentable_value(members, (), 0)
    if unrepresentable is not None:
        return UnrepresentableItem("ParquetTypeConflict", f"`{path_text(unrepresentable[0])}` {unrepresentable[1]}")
    tree.fields["bbox"].kinds.add(f"bbox of {len(row.bbox)}")
    for name in TIMES & members.keys():
        tree.fields.setdefault(name, Node("time"))
        del members[name]
    for path in row.geometries:
        node = tree
        for name in path:
            node = node.fields.setdefault(name, Node())
        node.kinds.add("geometry")
    _observe(tree, members)
    return None


def _observe(node: Node, value: Any) -> None:
    if value is None:
        return
    kind = _kind(value)
    node.kinds.add(kind)
    if kind == "object":
        for name, member in value.items():
            child = node.fields.get(name)
            if child is None:
                child = node.fields[name] = Node()
            _observe(child, member)
    elif kind == "list":
        if node.element is None:
            node.element = Node()
        for member in value:
            _observe(node.element, member)


def _kind(value: Any) -> str:
    return LARGE if type(value) is int and abs(value) > _EXACT else _KINDS[type(value)]


def _is_representable(value: Any, depth: int) -> bool:
    """A faster test: if True, `_unrepresentable_value` finds nothing."""
    if depth >= _MAX_DEPTH:
        return False
    for member in value.values() if isinstance(value, dict) else value:
        kind = type(member)
        if kind is int and not -_INT64 <= member < _INT64:
            return False
        if (kind is dict or kind is list) and not _is_representable(member, depth + 1):
            return False
    return not isinstance(value, dict) or "\0" not in "".join(value)


def _unrepresentable_value(value: Any, path: Path, depth: int) -> tuple[Path, str] | None:
    if type(value) is int and not -_INT64 <= value < _INT64:
        return path, f"is {value}, which is beyond a 64-bit integer"
    if depth > _MAX_DEPTH:
        return path[:3], f"is nested more than {_MAX_DEPTH} levels deep"
    if isinstance(value, dict):
        if any("\0" in name for name in value):
            return path, "has a member with a NUL character in its name"
        children = ((name, member) for name, member in value.items())
    elif isinstance(value, list):
        children = ((ELEMENT, member) for member in value)
    else:
        return None
    return next(
        filter(None, (_unrepresentable_value(member, (*path, name), depth + 1) for name, member in children)), None
    )


def path_text(path: Path) -> str:
    """A path for people, such as `properties.eo:bands[].name`."""
    names = path if path and path[0] in TOP_LEVEL else ("properties", *path)
    return ".".join(names).replace(f".{ELEMENT}", "[]")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file."""

    json: pa.Schema
    """The schema of `Row.json`: without bbox and geometries, but with the objects that never have a member."""
    file: pa.Schema
    """The schema of the file."""
    geometries: tuple[Path, ...]
    """The paths of the WKB columns."""


def layout_of(tree: Node, is_widened: Callable[[Path], bool] = lambda _: False) -> Layout:
    """The columns of a tree without conflicts.

    `is_widened` decides whether a column of integers is written as double; integers beyond 2^53 never are.

    Order: the members of an item first, then the properties by name; members of objects by name.
    """
    names = sorted(tree.fields, key=lambda name: (_rank(name), name))
    plain = [(name, node) for name in names if name != "bbox" and not _is_geometry(node := tree.fields[name])]
    in_file = [(name, _file_type(tree.fields[name], (name,), is_widened)) for name in names]
    return Layout(
        pa.schema([pa.field(name, _json_type(node)) for name, node in plain]),
        pa.schema([pa.field(name, kind) for name, kind in in_file if kind is not None]),
        tuple(sorted(_geometries(tree, ()))),
    )


def _rank(name: str) -> int:
    return TOP_LEVEL.index(name) if name in TOP_LEVEL else len(TOP_LEVEL)


def _is_geometry(node: Node) -> bool:
    return "geometry" in node.kinds


def _geometries(node: Node, path: Path) -> Iterator[Path]:
    if _is_geometry(node):
        yield path
    for name, child in node.fields.items():
        yield from _geometries(child, (*path, name))


_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "geometry": pa.binary(),
    "integer": pa.int64(),
    LARGE: pa.int64(),
    "bbox of 4": pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")]),
    "bbox of 6": pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")]),
}


_ALWAYS_NULL = pa.struct([])
"""For elements that are always null, because Arrow's JSON reader makes too short arrays for `list<null>`."""


def _json_type(node: Node) -> pa.DataType:
    if "object" in node.kinds:
        members = [(name, node.fields[name]) for name in sorted(node.fields)]
        return pa.struct([pa.field(name, _json_type(child)) for name, child in members if not _is_geometry(child)])
    if "list" in node.kinds:
        element = node.element
        return pa.list_(_json_type(element) if element is not None and element.kinds else _ALWAYS_NULL)
    return _scalar_type(node)


def _file_type(node: Node, path: Path, is_widened: Callable[[Path], bool]) -> pa.DataType | None:
    """The type in the file; None for an object that never has a member, which Parquet cannot represent."""
    if "object" in node.kinds:
        fields = [(name, _file_type(node.fields[name], (*path, name), is_widened)) for name in sorted(node.fields)]
        kept = [pa.field(name, kind) for name, kind in fields if kind is not None]
        return pa.struct(kept) if kept else None
    if "list" in node.kinds:
        return pa.list_(_file_type(node.element or Node(), (*path, ELEMENT), is_widened) or pa.null())
    return pa.float64() if node.kinds == {"integer"} and is_widened(path) else _scalar_type(node)


def _scalar_type(node: Node) -> pa.DataType:
    if "float" in node.kinds:
        return pa.float64()
    return _SCALARS[min(node.kinds)] if node.kinds else pa.null()


def conflicts(node: Node, path: Path = ()) -> list[Path]:
    """Every path whose values have no common type."""
    found = [path] if _clash(node.kinds) else []
    for name, child in node.fields.items():
        found += conflicts(child, (*path, name))
    if node.element is not None:
        found += conflicts(node.element, (*path, ELEMENT))
    return found


def _clash(kinds: Iterable[str]) -> bool:
    kinds = set(kinds)
    return len({_GROUPS.get(kind, kind) for kind in kinds}) > 1 or {"float", LARGE} <= kinds


TypeVotes = dict[Path, dict[frozenset[str], "array[int]"]]
"""For each path in conflict: the rows (by number) that have the same kinds there."""


def type_votes(rows: Iterable[tuple[int, Row]], paths: Iterable[Path]) -> TypeVotes:
    """The kinds of each row at the paths in conflict; eight bytes for each row and path."""
    cast: TypeVotes = {path: {} for path in paths}
    for number, row in rows:
        members = orjson.loads(row.json)
        for path, boxes in cast.items():
            if path == ("bbox",):
                kinds = frozenset({f"bbox of {len(row.bbox)}"})
            else:
                kinds = frozenset(_kind(value) for value in _values(members, path) if value is not None)
            if kinds:
                boxes.setdefault(kinds, array("q")).append(number)
    return cast


def _values(value: Any, path: Path) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0] == ELEMENT:
        if type(value) is list:
            for member in value:
                yield from _values(member, path[1:])
    elif type(value) is dict and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def outvoted(cast: TypeVotes) -> dict[int, UnrepresentableItem]:
    """The rows to reject so that every path has one type, each with its reason.

    Paths are decided in their order, by the rows that are not yet rejected; the type of most rows wins.
    """
    out: dict[int, UnrepresentableItem] = {}
    for path in sorted(cast):
        _decide(path, cast[path], _group, out)
        _decide(path, cast[path], _exactness, out)
    return out


def _group(kind: str) -> str:
    return _GROUPS.get(kind, kind)


def _exactness(kind: str) -> str | None:
    """The side of a kind in the vote; integers up to 2^53 have none, because they fit both integers and floats."""
    return kind if kind in ("float", LARGE) else None


def _decide(
    path: Path,
    boxes: dict[frozenset[str], array[int]],
    label: Callable[[str], str | None],
    out: dict[int, UnrepresentableItem],
) -> None:
    """Add the rows with another label than most rows to `out`."""
    standing = [
        ({name for kind in kinds if (name := label(kind))}, [number for number in numbers if number not in out])
        for kinds, numbers in boxes.items()
    ]
    votes: Counter[str] = Counter()
    for labels, numbers in standing:
        votes.update(dict.fromkeys(labels, len(numbers)))
    winner = min(+votes, key=lambda name: (-votes[name], _ORDER.index(name)), default="")
    for labels, numbers in standing:
        lost = sorted(labels - {winner}, key=_ORDER.index)
        for number in numbers if lost else ():
            reason = f"`{path_text(path)}` is {_article(lost[0])}; the column is {_article(winner)}, as in most items"
            out[number] = UnrepresentableItem("ParquetTypeConflict", reason)


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
