"""stac-validator, the reference for verdicts and messages, for one object and one schema at a time.

It gets every schema from the caller, so it neither reads files nor uses the network, and it prints nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.exceptions import CannotDetermineSpecification
from referencing.jsonschema import DRAFT202012, UnknownDialect
from stac_validator.utilities import extract_relevant_oneof_error
from stac_validator.validate import StacValidate

from stac_manager.validate.schema_refs import SchemaSet
from stac_manager.validate.verdicts import SchemaFailure, SchemaOutcome, one_line, unavailable

__all__ = ["ReferenceValidator"]


class ReferenceValidator:
    """stac-validator for one schema."""

    def __init__(self, schemas: SchemaSet) -> None:
        self._address = schemas.address
        self._validator = _prepare(schemas)

    def check(self, item: dict[str, Any]) -> SchemaOutcome | None:
        """The error of an object; None if it is valid."""
        run = _Run(self._address, self._validator)
        # stac-validator fails on a link that is no object, when it words an error
        with suppress(AttributeError, TypeError):
            run.validate_dict(item)
        if run.valid:
            return None
        if isinstance(run.cause, ValidationError):
            message = run.message[-1]["error_message"] if run.message else run.cause.message
            return SchemaOutcome(_failure(self._address, run.cause, message, item), failed=True)
        if _is_recursion(run.cause):
            return SchemaOutcome(SchemaFailure(self._address, "", "the object is nested too deeply"), failed=True)
        return unavailable(self._address, f"it cannot be used: {run.cause}")


def _prepare(schemas: SchemaSet) -> Draft202012Validator:
    """The validator that `stac_validator.utilities.validate_with_ref_resolver` builds for each call, built once.

    The references are loaded once instead of for each call, which is about five times faster.
    """
    resources = [(schemas.address, DRAFT202012.create_resource(schemas.document))]
    # a broken part of a schema fails only when it is used, as in stac-validator
    for uri, document in schemas.python_documents.items():
        with suppress(CannotDetermineSpecification, UnknownDialect):
            resources.append((uri, Resource.from_contents(document)))
    registry: Registry[Any] = Registry().with_resources(resources)
    with suppress(AttributeError, TypeError, ValueError, LookupError, CannotDetermineSpecification, UnknownDialect):
        registry = registry.crawl()
    # sorted as in stac-validator, because the order decides which error comes first
    return Draft202012Validator(json.loads(json.dumps(schemas.document, sort_keys=True)), registry=registry)


class _Run(StacValidate):  # type: ignore[misc]  # the package has no type information
    """One run of stac-validator with one schema; it keeps the error behind the message."""

    def __init__(self, address: str, validator: Draft202012Validator) -> None:
        super().__init__(custom=address)
        self._prepared = validator
        self.cause: BaseException | None = None

    def custom_validator(self) -> None:
        try:
            self._prepared.validate(self.stac_content)
        except Exception as error:
            self.cause = error
            raise


def _failure(address: str, error: ValidationError, message: str, item: dict[str, Any]) -> SchemaFailure:
    """The failure with its path, and the message without the path.

    If a schema has alternatives, the closest one is reported, as stac-validator does for extensions. A message about
    all of them would repeat the whole object.
    """
    path = list(error.absolute_path)
    if error.context:
        closest = _closest(error, item)
        path, message = list(closest.absolute_path), closest.message
    else:
        message = message.removesuffix(f". Error is in {' -> '.join(map(str, path))} ")
    return SchemaFailure(address, _readable(path), one_line(message))


def _closest(error: ValidationError, item: dict[str, Any]) -> ValidationError:
    try:
        alternative = extract_relevant_oneof_error(error, item)
    except AttributeError:  # stac-validator expects every alternative to be an object, but it may be `false`
        alternative = error
    return best_match(alternative.context) if alternative.context else alternative


def _readable(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isprintable() and part and not any(character in part for character in '.[]" '):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return one_line(text)


def _is_recursion(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, RecursionError):
            return True
        error = error.__cause__ or error.__context__
    return False
