"""Turn pydantic's errors about a document into problems that a person can fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stac_manager.config.document import Document, short
from stac_manager.config.fields import Section, Where
from stac_manager.config.model import Workflow
from stac_manager.errors import Problem

__all__ = ["problems_of"]


@dataclass(frozen=True, slots=True)
class _Error:
    kind: str
    where: Where
    context: Mapping[str, Any]
    message: str
    owner: type[Section] | None
    """The section that the last step of `where` is a key of."""


def problems_of(error: ValidationError, document: Document) -> list[Problem]:
    """One problem for each mistake; errors that only follow from another problem are left out."""
    errors = [_located(details) for details in error.errors(include_url=False, include_input=False)]
    guesses = {(*error.where[:-1], guess) for error in errors if (guess := _guess(error))}
    parents = {error.where[:-1] for error in errors}
    return [_problem(error, document) for error in errors if not _follows(error, document, parents, guesses)]


def _located(details: ErrorDetails) -> _Error:
    where: Where = ()
    owner: type[Section] | None = None
    candidates: list[type[Section]] = [Workflow]
    for step in details["loc"]:
        if len(candidates) > 1:
            candidates = [section for section in candidates if _tag(section) == step]
            continue
        where = (*where, step)
        if isinstance(step, str):
            owner = candidates[0] if candidates else None
            field = owner.model_fields.get(step) if owner else None
            candidates = _sections(field.annotation) if field else []
    if details["type"].startswith("union_tag"):
        where = (*where, "type")
    return _Error(details["type"], where, details.get("ctx") or {}, details["msg"], owner)


def _tag(section: type[Section]) -> str:
    return str(get_args(section.model_fields["type"].annotation)[0])


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


def _follows(error: _Error, document: Document, parents: set[Where], guesses: set[Where]) -> bool:
    heads = {error.where[:length] for length in range(len(error.where) + 1)}
    if heads & document.faulty:
        return True
    if error.kind == "too_short":
        return error.where in parents
    return error.kind == "missing" and error.where in guesses


def _problem(error: _Error, document: Document) -> Problem:
    if error.kind == "extra_forbidden":
        found = f"the unknown key {short(str(error.where[-1]))!r}"
        return document.problem(error.where, _known_keys(error), found=found, key=True)
    return document.problem(error.where, _expected(error, document))


def _guess(error: _Error) -> str | None:
    if error.kind != "extra_forbidden" or error.owner is None:
        return None
    return _nearest(str(error.where[-1]), error.owner.model_fields)


def _known_keys(error: _Error) -> str:
    guess = _guess(error)
    if guess:
        return f"a known key; did you mean `{guess}`?"
    home = _section_with(str(error.where[-1]), Workflow)
    if home:
        return f"it below `{home}`"
    return f"one of {_choices(error.owner.model_fields if error.owner else ())}"


def _section_with(name: str, section: type[Section], above: str = "") -> str | None:
    """The first mapping of a workflow that has a key of this name, such as `source.filters`."""
    inner = [(above + key, part) for key, field in section.model_fields.items() for part in _sections(field.annotation)]
    for where, part in inner:
        if name in part.model_fields:
            return where
    return next((home for where, part in inner if (home := _section_with(name, part, f"{where}."))), None)


def _nearest(text: str, names: Iterable[str]) -> str | None:
    folded = {name.casefold(): name for name in names}
    matches = get_close_matches(text.casefold(), folded, n=1)
    return folded[matches[0]] if matches else None


def _choices(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_SENTENCES: dict[str, str] = {
    "rule": "{expected}",
    "string_unicode": "a text that is valid Unicode",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than_equal": "a number of at most {le:g}",
    "too_short": "a list of at least {min_length}",
    "tuple_type": "a list, as [a, b]",
    "dict_type": "a mapping: `key: value` on lines of their own",
    "model_type": "a mapping: `key: value` on lines of their own",
    "model_attributes_type": "a mapping: `key: value` on lines of their own",
}


def _text(error: _Error, document: Document) -> str:
    return "a text, in quotes" if document.is_scalar(error.where) else "a text"


def _missing(error: _Error, document: Document) -> str:
    field = error.owner.model_fields.get(str(error.where[-1])) if error.owner else None
    about = f": {field.description.rstrip('.')}" if field and field.description else ""
    return f"the key `{error.where[-1]}`{about}"


def _one_of(error: _Error, document: Document) -> str:
    names = re.findall(r"'([^']*)'", str(error.context.get("expected") or error.context.get("expected_tags") or ""))
    written = document.literal(error.where)
    guess = _nearest(written, names) if written else None
    expected = f"one of {_choices(names)}" if len(names) > 1 else _choices(names)
    return f"{expected}; did you mean `{guess}`?" if guess else expected


_PHRASES: dict[str, Callable[[_Error, Document], str]] = {
    "string_type": _text,
    "missing": _missing,
    "union_tag_not_found": _missing,
    "literal_error": _one_of,
    "union_tag_invalid": _one_of,
}


def _expected(error: _Error, document: Document) -> str:
    if error.kind in _PHRASES:
        return _PHRASES[error.kind](error, document)
    sentence = _SENTENCES.get(error.kind)
    return sentence.format_map(error.context) if sentence else f"another value ({error.message})"
