"""Which columns of a file have numbers, and of which type, so that the files of a collection can agree."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stac_manager.output.geoparquet.rows import Path
from stac_manager.output.geoparquet.schema import ELEMENT, LARGE, Node

__all__ = ["NumberTypes", "mark_large", "number_types", "path_pointer"]

_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class NumberTypes:
    """The number columns of a file by their paths, such as `/assets/red/eo:bands/*/gsd`; each list is sorted.

    Columns with integers beyond 2^53 are in no list: a double would change them, so they always stay integers.
    """

    integer: tuple[str, ...]
    """Columns for which the items have only integers."""
    double: tuple[str, ...]
    """Columns for which some item has a float."""
    widened: tuple[str, ...]
    """The columns of `integer` that the file has as double."""


def path_pointer(path: Path) -> str:
    """A path as text, as a JSON pointer with `*` for any element of a list."""
    return "".join("/" + ("*" if name == ELEMENT else _escaped(name)) for name in path)


def _escaped(name: str) -> str:
    return "~2" if name == "*" else name.replace("~", "~0").replace("/", "~1")


def number_types(tree: Node, doubles: Collection[str]) -> NumberTypes:
    """The number columns of all rows of a tree, if the columns in `doubles` are written as double."""
    found: dict[str, list[str]] = {"integer": [], "double": []}
    for path, kinds in _numbers(tree, ()):
        if LARGE not in kinds:
            found["double" if "float" in kinds else "integer"].append(path_pointer(path))
    integer, double = (tuple(sorted(paths)) for paths in found.values())
    return NumberTypes(integer, double, tuple(path for path in integer if path in doubles))


def _numbers(node: Node, path: Path) -> Iterator[tuple[Path, set[str]]]:
    if node.kinds & {"integer", "float", LARGE}:
        yield path, node.kinds
    for name, child in node.fields.items():
        yield from _numbers(child, (*path, name))
    if node.element is not None:
        yield from _numbers(node.element, (*path, ELEMENT))


def mark_large(tree: Node, table: pa.Table) -> None:
    """Mark in the tree where rows have integers beyond 2^53, which a tree made from some of the rows may miss."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        _mark(tree.fields[name], column.combine_chunks())


def _mark(node: Node, array: Any) -> None:
    kind = array.type
    if pa.types.is_struct(kind):
        for field in kind:
            if field.name in node.fields:  # the members of a bbox are none of the tree
                _mark(node.fields[field.name], array.field(field.name))
    elif pa.types.is_list(kind) and node.element is not None:
        _mark(node.element, array.values)
    elif pa.types.is_int64(kind):
        ends = pc.min_max(array)
        if ends["max"].is_valid and max(-ends["min"].as_py(), ends["max"].as_py()) > _EXACT:
            node.kinds.add(LARGE)
