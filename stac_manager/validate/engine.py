"""Fast validation: jsonschema-rs accepts valid objects, and stac-validator decides on all others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jsonschema_rs
import orjson
from stac_validator.utilities import validate_stac_version_field

from stac_manager.errors import UsageError
from stac_manager.validate.reference_validator import ReferenceValidator
from stac_manager.validate.schema_refs import SchemaSet, collect_schema_set
from stac_manager.validate.schema_uris import Kind, core_schema, extension_schema, kind_of, web_address
from stac_manager.validate.store import Schema, SchemaStore
from stac_manager.validate.verdicts import (
    ItemVerdict,
    SchemaFailure,
    SchemaOutcome,
    SchemaUnavailableError,
    Verdict,
    one_line,
    unavailable,
)

__all__ = ["Level", "Validator"]

Level = Literal["strict", "lenient"]

_MOST_PLANS = 4096
"""Combinations of version and extensions to remember; it bounds memory."""


class Validator:
    """Checks STAC objects with the schemas they declare.

    Args:
        store: where schemas come from.
        level: `lenient` accepts objects that are invalid by extensions only.
        extra_schemas: URLs or local files of further schemas that every object must pass; they count as extensions.

    Raises:
        UsageError: a local file of `extra_schemas` cannot be used, or there is no such level.
    """

    def __init__(self, store: SchemaStore, *, level: Level = "strict", extra_schemas: Sequence[str] = ()) -> None:
        if level not in get_args(Level):
            raise UsageError(f"a level of validation is one of {', '.join(get_args(Level))}, not {level!r}")
        self._store = store
        self._level = level
        self._extra = [
            name.partition("#")[0] if web_address(name) else store.add_file(Path(name)) for name in extra_schemas
        ]
        self._compiled: dict[str, _Compiled] = {}
        self._plans: dict[tuple[Any, ...], tuple[_Compiled, ...]] = {}

    def check(self, item: dict[str, Any]) -> ItemVerdict:
        """The verdict on one Item, Collection or Catalog. An invalid object never raises; no object is changed."""
        try:
            # this also protects the native code from endless nesting
            data = orjson.dumps(item)
        except TypeError as error:
            return self._invalid_at_once(item, "", f"cannot be written as JSON: {error}")
        if not isinstance(item, dict):
            return self._invalid_at_once(None, "", f"is a JSON {type(item).__name__}, not an object")
        plan = self._plan(item)
        if isinstance(plan, SchemaFailure):
            return self._invalid_at_once(item, plan.path, plan.message)
        for schema in plan:
            if not schema.passes(item):
                break
        else:
            return self._verdict(item, [None])
        copy = orjson.loads(data)
        return self._verdict(item, [schema.check(copy) for schema in plan])

    def _invalid_at_once(self, item: Any, path: str, message: str) -> ItemVerdict:
        return self._verdict(item, [SchemaOutcome(SchemaFailure("", path, one_line(message)), failed=True)])

    def _verdict(self, item: Any, outcomes: Sequence[SchemaOutcome | None]) -> ItemVerdict:
        """Combine the outcomes of the schemas; the core schema comes first."""
        found = [outcome for outcome in outcomes if outcome]
        verdict = Verdict.UNCHECKED if found else Verdict.VALID
        if any(outcome.failed for outcome in found):
            verdict = Verdict.INVALID
        lenient = verdict is Verdict.INVALID and outcomes[0] is None and self._level == "lenient"
        return ItemVerdict(
            item_id=_text(item, "id"),
            collection=_text(item, "collection"),
            verdict=verdict,
            errors=tuple(outcome.failure for outcome in found),
            accepted=verdict is not Verdict.INVALID or lenient,
            lenient=lenient,
        )

    def _plan(self, item: dict[str, Any]) -> tuple[_Compiled, ...] | SchemaFailure:
        """The schemas for an object, collected once for each combination of type, version and extensions."""
        version, extensions = item.get("stac_version"), item.get("stac_extensions", [])
        kind = kind_of(item, version) if isinstance(version, str) else None
        if kind is None or not isinstance(extensions, list):
            return self._new_plan(item, kind)
        try:
            plan = self._plans.get((kind, version, *extensions))
        except TypeError:
            plan = None
        return self._new_plan(item, kind) if plan is None else plan

    def _new_plan(self, item: dict[str, Any], kind: Kind | None) -> tuple[_Compiled, ...] | SchemaFailure:
        problem = _declaration_problem(item, kind)
        if problem:
            return problem
        assert kind is not None
        version, extensions = item["stac_version"], item.get("stac_extensions", [])
        addresses = [core_schema(version, kind)]
        addresses += [extension_schema(version, name) for name in extensions]
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        plan = tuple(self._compile(address) for address in dict.fromkeys([*addresses, *self._extra]))
        self._plans[kind, version, *extensions] = plan
        return plan

    def _compile(self, address: str) -> _Compiled:
        if address not in self._compiled:
            self._compiled[address] = _Compiled(self._store, address)
        return self._compiled[address]


class _Compiled:
    """One schema, ready for use."""

    def __init__(self, store: SchemaStore, address: str) -> None:
        self._address = address
        self._authority: ReferenceValidator | None = None
        self._missing: SchemaOutcome | None = None
        self._is_valid: Callable[[Any], bool] | None = None
        try:
            self._schemas = collect_schema_set(store, address)
            self._is_valid = _fast_check(self._schemas)
        except SchemaUnavailableError as error:
            self._missing = unavailable(address, str(error))

    def passes(self, item: dict[str, Any]) -> bool:
        """Whether jsonschema-rs accepts it; False also if only stac-validator can decide."""
        try:
            return self._is_valid is not None and self._is_valid(item)
        except ValueError:
            return False

    def check(self, item: dict[str, Any]) -> SchemaOutcome | None:
        """The error of stac-validator for an object; None if it is valid."""
        if self.passes(item):
            return None
        if self._missing:
            return self._missing
        try:
            self._authority = self._authority or ReferenceValidator(self._schemas)
        except Exception as error:  # noqa: BLE001 - a foreign schema may raise anything
            self._missing = unavailable(self._address, f"it cannot be used: {error}")
            return self._missing
        return self._authority.check(item)


def _fast_check(schemas: SchemaSet) -> Callable[[Any], bool] | None:
    """A check that agrees with stac-validator: the root schema as draft 2020-12, others by `$schema`, without formats.

    None if jsonschema-rs cannot compile the schema.
    """
    try:
        validator = jsonschema_rs.Draft202012Validator(
            _linear_patterns(schemas.document),
            registry=jsonschema_rs.Registry(list(schemas.rust_documents.items())),
            base_uri=schemas.base_uri,
            validate_formats=False,
            offline=True,
        )
    except (TypeError, ValueError, jsonschema_rs.ReferencingError):
        return None
    return validator.is_valid


_NOT_A_PREFIX = re.compile(r'"\^\(\?!([\w:-]+)\)":')


def _linear_patterns(schema: Schema) -> str:
    """The schema as JSON, with each member pattern `^(?!eo:)` replaced by an equal one without look-ahead.

    Nearly every extension has such a pattern. It is applied to every member of every asset, and look-ahead takes twice
    as long.
    """

    def linear(match: re.Match[str]) -> str:
        pattern = ""
        for character in reversed(match[1]):
            pattern = f"(?:[^{character}]|$" + (f"|{character}{pattern})" if pattern else ")")
        return f'"^{pattern}":'

    return _NOT_A_PREFIX.sub(linear, orjson.dumps(schema).decode())


def _declaration_problem(item: dict[str, Any], kind: Kind | None) -> SchemaFailure | None:
    """Why no schema can be chosen for an object: its version, type or extensions are invalid."""
    good, _, message = validate_stac_version_field(item)
    if not good:
        return SchemaFailure("", "stac_version", message)
    if kind is None:
        found = f"is {item['type']!r}" if "type" in item else "is missing"
        return SchemaFailure("", "type", f"`type` {found}; STAC has Feature (an item), Collection and Catalog")
    extensions = item.get("stac_extensions", [])
    if not isinstance(extensions, list) or not all(isinstance(name, str) for name in extensions):
        return SchemaFailure("", "stac_extensions", "`stac_extensions` is not a list of strings")
    return None


def _text(item: Any, member: str) -> str | None:
    value = item.get(member) if isinstance(item, dict) else None
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
