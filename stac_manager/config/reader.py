"""Read a file as a tree of YAML nodes. No objects are constructed here, so no tag of a file can run code.

Plain values have their meaning in YAML 1.2, as in editors: `2024-01-01`, `on` and `no` are texts, `010` is ten.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from yaml.nodes import Node, ScalarNode, SequenceNode

from stac_manager.errors import ConfigError, Problem

__all__ = ["INT", "MAX_DEPTH", "TAG_PREFIX", "read_tree", "resolve_plain"]

MAX_BYTES = 1 << 20
"""The greatest size of a workflow file; real ones have a few KB, one with a detailed geometry about 100 KB."""

MAX_DEPTH = 50
"""How deep lists and mappings may be nested; it protects against a stack overflow."""

TAG_PREFIX = "tag:yaml.org,2002:"

INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)

Kind = Literal["null", "bool", "int", "float", "str"]

_PLAIN: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("null", re.compile(r"null|Null|NULL|~|", re.ASCII)),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE", re.ASCII)),
    ("int", INT),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)),
)
"""The types of plain scalars; the first full match counts. Source: YAML 1.2.2 section 10.3.2."""


def resolve_plain(text: str) -> Kind:
    """The type of a plain scalar in YAML 1.2's core schema, without infinity and NaN, which JSON does not have."""
    for kind, pattern in _PLAIN:
        if pattern.fullmatch(text):
            return kind
    return "str"


class _Loader(yaml.SafeLoader):
    depth = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return TAG_PREFIX + (resolve_plain(value) if implicit[0] else "str")
        return TAG_PREFIX + ("seq" if kind is SequenceNode else "map")

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, "nested too deeply", parent.start_mark if parent else None)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_tree(path: str | os.PathLike[str]) -> Node:
    """The node tree of the one YAML document in a file.

    Raises:
        ConfigError: the file cannot be read; the error has the one problem.
    """
    file = os.fspath(path)
    text = _text(file, _bytes(file))
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _failure(file, f"the character U+{int(error.character):04X}", "a text file, in UTF-8", line) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_failure(file, error) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML passes on Python's own error for an escape such as "\UFFFFFFFF".
        raise _failure(file, "a number or an escape that is out of range", "valid YAML") from None
    if node is None:
        raise _failure(file, "an empty file", "a workflow, with at least `workflow:` and `source:`")
    return node


def _failure(file: str, found: str, expected: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(file, line, "", found, expected)])


def _bytes(file: str) -> bytes:
    try:
        if Path(file).is_dir():
            raise _failure(file, "a folder", "a workflow file")
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _failure(file, "no such file", "a workflow file") from None
    except OSError as error:
        raise _failure(file, f"a file that cannot be read ({error.strerror})", "a workflow file") from None
    except ValueError:
        raise _failure(file, "a name that no file can have", "a workflow file") from None
    if len(data) > MAX_BYTES:
        raise _failure(file, "more than 1 MiB", "a workflow file of at most 1 MiB")
    return data


def _text(file: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _failure(file, "bytes that are not UTF-8", "a text file, in UTF-8", line) from None


_ADVICE: tuple[tuple[str, str, str], ...] = (
    ("nested too deeply", "lists and mappings nested too deeply", f"at most {MAX_DEPTH} levels"),
    ("'\\t'", "a tab", "spaces: YAML does not take tabs before a value"),
    (
        "mapping values are not allowed",
        "a `:` where no key can stand",
        "quotes around a text that holds `: `, and the keys of one mapping in the same column",
    ),
    ("could not find expected ':'", "a line that is no `key: value`", "a `:` and a space after the key"),
    ("expected <block end>", "a line that does not line up", "the keys of one mapping in the same column"),
    ("another document", "a second document (`---`)", "one workflow a file"),
    (
        "expected ',' or ']'",
        "a list that is not closed",
        "`,` between its entries, `]` at its end, and quotes around `${NAME}`",
    ),
    (
        "expected ',' or '}'",
        "a mapping that is not closed",
        "`,` between its keys, `}` at its end, and quotes around `${NAME}`",
    ),
    ("unexpected end of stream", "a quote that is not closed", "the same quote at the end of the text"),
    ("undefined alias", "a `*` with a name that is defined nowhere", "quotes around a text that starts with `*`"),
    ("alphabetic or numeric", "a `*` or `&` without a name", "quotes around a text that starts with it"),
    ("duplicate anchor", "a name after `&` that is defined twice", "a name of its own for each anchor"),
    ("undefined tag handle", "a tag (`!…`)", "a plain value; quotes around a text that starts with `!`"),
)


def _syntax_failure(file: str, error: yaml.MarkedYAMLError) -> ConfigError:
    said = f"{error.context or ''} {error.problem or ''}"
    # An unclosed quote or bracket is detected at the end of the file; the problem gives the line where it begins.
    begun = error.context_mark if re.search(r"stream end|end of stream|expected ':'", said) else None
    mark = begun or error.problem_mark
    line = mark.line + 1 if mark else None
    for clue, found, expected in _ADVICE:
        if clue in said:
            return _failure(file, found, expected, line)
    start = re.search(r"found character '(.)' that cannot start any token", said)
    if start:
        return _failure(file, f"a value that starts with `{start[1]}`", "quotes around it", line)
    swap = re.match(r"expected (.+), but found (.+)", error.problem or "")
    if swap:
        return _failure(file, swap[2], swap[1], line)
    what = (error.problem or "a mistake").removeprefix("found ").splitlines()[0]
    return _failure(file, what, "valid YAML", line)
