"""A workflow file as plain data, with its variables filled in and with the line of every value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stac_manager.config.fields import Where
from stac_manager.config.reader import INT, MAX_DEPTH, TAG_PREFIX, read_tree, resolve_plain
from stac_manager.errors import ConfigError, Problem

__all__ = ["Document", "path_text", "read_document", "short"]

MAX_VALUES = 100_000
"""How many values a file may have, counting each use of an alias; it bounds memory."""

_VARIABLE = re.compile(r"\$\$|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_FREE = (("source", "filters", "cql2"), ("source", "filters", "query"))
"""Paths for which the model has no types, so that the text of a variable decides whether it is a number."""

_SHOWN = 60
"""Characters of a value in a message."""

_FAULTY = object()
"""Replaces a value that already has a problem: it is not absent, and has no type that a model accepts."""


@dataclass(frozen=True, slots=True)
class _Location:
    key: Node | None
    node: Node


@dataclass
class Document:
    """The values of a file and their places."""

    file: str
    """The file, as the user named it."""
    data: dict[str, Any] = field(default_factory=dict)
    """The document with its variables filled in; an opaque object replaces each value that has a problem."""
    problems: list[Problem] = field(default_factory=list)
    """Invalid values, repeated keys, variables that are not set."""
    faulty: set[Where] = field(default_factory=set)
    """The paths of the values with `problems`."""
    places: dict[Where, _Location] = field(default_factory=dict)
    """Every value of the file, by its path."""

    def line(self, where: Where, *, key: bool = False) -> int | None:
        """The line of a value or of its key, counted from 1; if there is no such value, that of the enclosing one."""
        while where and where not in self.places:
            where = where[:-1]
        place = self.places.get(where)
        if place is None:
            return None
        node = place.key if place.key and (key or not isinstance(place.node, ScalarNode)) else place.node
        return int(node.start_mark.line) + 1

    def found(self, where: Where) -> str:
        """The value in words, as written in the file, so never the value of a variable."""
        place = self.places.get(where)
        if place is None:
            return "nothing"
        if isinstance(place.node, MappingNode):
            return "a mapping" if place.node.value else "an empty mapping"
        if isinstance(place.node, SequenceNode):
            return "a list" if place.node.value else "an empty list"
        if _secret(where):
            return "a value that is not shown"
        return _shown(place.node)

    def is_scalar(self, where: Where) -> bool:
        """Whether the value is a scalar, not a list or a mapping."""
        return where in self.places and isinstance(self.places[where].node, ScalarNode)

    def literal(self, where: Where) -> str | None:
        """The literal text of a value; None if it contains a variable or is a secret."""
        if not self.is_scalar(where) or _secret(where) or "$" in self.places[where].node.value:
            return None
        return str(self.places[where].node.value)

    def problem(self, where: Where, expected: str, *, found: str | None = None, key: bool = False) -> Problem:
        """A problem with the value (or the key) at a place of this file."""
        return Problem(
            self.file,
            self.line(where, key=key),
            path_text(where),
            found or self.found(where),
            " ".join(expected.split()),
        )


def _secret(where: Where) -> bool:
    return where[:2] == ("source", "auth") and where[-1] != "type"


def path_text(where: Where) -> str:
    """A path for people: `source.filters.spatial.bbox[2]`."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{short(step)!r}]"
    return text


def _shown(node: Node) -> str:
    text = str(node.value)
    if node.tag == f"{TAG_PREFIX}null":
        return "nothing"
    if node.tag == f"{TAG_PREFIX}bool":
        return f"the boolean {text}"
    if node.tag in (f"{TAG_PREFIX}int", f"{TAG_PREFIX}float"):
        return f"the number {short(text)}"
    if "://" in text:
        text = re.sub(r"\?.*", "?…", re.sub(r"//[^/?#]*@", "//…@", text, count=1), count=1, flags=re.DOTALL)
    return repr(short(text))


def short(text: str) -> str:
    """The text, cut if it is too long for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def read_document(path: str | os.PathLike[str], environ: Mapping[str, str]) -> Document:
    """Read a file, and replace `${NAME}` and `${NAME:-default}` in its texts from `environ`; `$$` is a dollar.

    Raises:
        ConfigError: the file cannot be read at all; other problems are in the document.
    """
    tree = read_tree(path)
    document = Document(os.fspath(path))
    if not isinstance(tree, MappingNode):
        found = "a list" if isinstance(tree, SequenceNode) else "a text"
        expected = "a mapping, with at least `workflow:` and `source:`"
        raise ConfigError([Problem(document.file, tree.start_mark.line + 1, "", found, expected)])
    document.data = _Builder(document, environ).build(tree)
    return document


class _Builder:
    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.environ = environ

    def build(self, tree: MappingNode) -> dict[str, Any]:
        value = self._value(tree, None, ())
        return value if isinstance(value, dict) else {}

    def _fault(self, where: Where, found: str, expected: str) -> object:
        self.document.faulty.add(where)
        self.document.problems.append(self.document.problem(where, expected, found=found))
        return _FAULTY

    def _endless(self, node: Node, found: str, expected: str) -> ConfigError:
        return ConfigError([Problem(self.document.file, node.start_mark.line + 1, "", found, expected)])

    def _value(self, node: Node, key: Node | None, where: Where) -> Any:
        places = self.document.places
        if len(places) >= MAX_VALUES:
            raise self._endless(node, f"more than {MAX_VALUES:,} values, aliases followed", "a smaller workflow")
        if len(where) > MAX_DEPTH:
            raise self._endless(node, "aliases nested too deeply", f"at most {MAX_DEPTH} levels")
        places[where] = _Location(key, node)
        kind = node.tag.removeprefix(TAG_PREFIX)
        if isinstance(node, MappingNode) and kind == "map":
            return dict(self._members(node, where))
        if isinstance(node, SequenceNode) and kind == "seq":
            return [self._value(member, None, (*where, index)) for index, member in enumerate(node.value)]
        if isinstance(node, ScalarNode) and kind in ("null", "bool", "int", "float", "str"):
            return self._scalar(node, kind, where)
        shown = f"!!{kind}" if node.tag != kind else kind
        return self._fault(where, f"the tag `{short(shown)}`", "a plain value: tags are not taken")

    def _members(self, node: MappingNode, where: Where) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, member in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag != f"{TAG_PREFIX}str" or _unfit(key.value):
                self._bad_key(key, where)
            elif key.value == "<<":
                self._bad_key(key, where, "the keys themselves: merge keys are not taken")
            elif key.value in seen:
                self._bad_key(key, (*where, key.value), f"each key once; line {seen[key.value]} has it too")
            else:
                seen[key.value] = line
                yield key.value, self._value(member, key, (*where, key.value))

    def _bad_key(self, key: Node, where: Where, expected: str = "a text as a key, in quotes if need be") -> None:
        found = f"the key {short(key.value)!r}" if isinstance(key, ScalarNode) else "a list or a mapping as a key"
        line = key.start_mark.line + 1
        problem = Problem(self.document.file, line, path_text(where), found, expected)
        self.document.problems.append(problem)

    def _scalar(self, node: ScalarNode, kind: str, where: Where) -> Any:
        text = node.value
        if kind == "str":
            return self._filled(node, where)
        if kind == "null":
            return None
        if kind != resolve_plain(text) and (kind, resolve_plain(text)) != ("float", "int"):
            found = f"{self.document.found(where)} with the tag `!!{kind}`"
            return self._fault(where, found, "a plain value: tags are not taken")
        number = _plain_value(text)
        if number is None:
            return self._fault(where, self.document.found(where), "a smaller number; quotes, if it is a text")
        return number

    def _filled(self, node: ScalarNode, where: Where) -> Any:
        before = len(self.document.problems)
        text = _VARIABLE.sub(lambda match: self._variable(match, where), node.value)
        if len(self.document.problems) > before:
            return _FAULTY
        if _unfit(text):
            return self._fault(where, self.document.found(where), "a text without NUL and half characters")
        free = where[:3] in _FREE and node.style is None and _VARIABLE.fullmatch(node.value)
        plain = _plain_value(text) if free and resolve_plain(text) in ("bool", "int", "float") else None
        return text if plain is None else plain

    def _variable(self, match: re.Match[str], where: Where) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match[1], match[2]
        if name is None:
            expected = "`${NAME}` or `${NAME:-default}`; `$$` for a dollar"
            self._fault(where, "a `${` without the name of a variable", expected)
            return ""
        value = self.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            expected = f"{name} in the environment, or `${{{name}:-default}}`"
            self._fault(where, f"`${{{name}}}`, which is not set", expected)
        return value or ""


def _unfit(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def _plain_value(text: str) -> bool | int | float | None:
    """The value of a plain boolean or number; None if other systems would read another number."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if INT.fullmatch(text):
        number = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) <= 20 else None
        return number if number is not None and abs(number) < 2**63 else None
    real = float(text)
    return real if abs(real) != float("inf") else None
