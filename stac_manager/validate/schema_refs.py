"""A schema with all schemas that it refers to, under the URIs that the two validators use for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin

from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

from stac_manager.validate.schema_uris import web_address
from stac_manager.validate.store import Schema, SchemaStore
from stac_manager.validate.verdicts import SchemaUnavailableError

__all__ = ["SchemaSet", "collect_schema_set"]

_MOST_REFERENCES = 200
"""Schemas that one schema may refer to; more is taken for an endless chain."""


@dataclass(frozen=True, slots=True)
class SchemaSet:
    """One schema and all schemas that it refers to, directly or indirectly."""

    address: str
    document: Schema
    base_uri: str
    """The base of relative references if the schema has no `$id`."""
    python_documents: dict[str, Schema] = field(default_factory=dict)
    """The schemas it refers to, by the URI that stac-validator uses; it may be relative, as some `$id` are."""
    rust_documents: dict[str, Schema] = field(default_factory=dict)
    """The same by the URI that jsonschema-rs uses, which is always absolute."""


@dataclass(frozen=True, slots=True)
class _ReachedSchema:
    """A document, and the base URIs with which one reference reached it."""

    address: str
    document: Schema
    python_base: str
    """The base URI in `referencing`, which stac-validator uses: the `$id` of the root, then the requested URI."""
    rust_base: str
    """The base URI in jsonschema-rs: the `$id` of each document, resolved against the requested URI."""


def collect_schema_set(store: SchemaStore, address: str) -> SchemaSet:
    """Collect a schema and all schemas that it refers to, directly or indirectly.

    Raises:
        SchemaUnavailableError: the schema, or one that it refers to, cannot be loaded.
    """
    path, document = store.locate(address), store.load(address)
    base_uri = address if web_address(address) else path.as_uri()
    gathered = SchemaSet(address, document, base_uri)
    schema_id = document.get("$id")
    python_base = schema_id.rstrip("#") if isinstance(schema_id, str) else ""
    try:
        todo = [_ReachedSchema(address, document, python_base, _rust_base(base_uri, document))]
        while todo:
            todo += _follow(store, gathered, todo.pop())
            if len(gathered.rust_documents) > _MOST_REFERENCES:
                raise SchemaUnavailableError(f"it refers to more than {_MOST_REFERENCES} other schemas")
    except ValueError as error:
        raise SchemaUnavailableError(f"it has a reference that is no URL: {error}") from None
    return gathered


def _follow(store: SchemaStore, gathered: SchemaSet, place: _ReachedSchema) -> Iterator[_ReachedSchema]:
    for reference in sorted(set(_references(place.document))):
        python_uri = urldefrag(urljoin(place.python_base, reference)).url
        rust_uri = urldefrag(urljoin(place.rust_base, reference)).url
        target = python_uri if web_address(python_uri) else urldefrag(urljoin(place.address, reference)).url
        if target in REGISTRY:
            gathered.rust_documents[rust_uri] = REGISTRY.contents(target)
        elif python_uri not in gathered.python_documents or rust_uri not in gathered.rust_documents:
            try:
                document = store.load(target)
            except SchemaUnavailableError as error:
                raise SchemaUnavailableError(f"it refers to {target}, which is unavailable: {error}") from None
            gathered.python_documents.setdefault(python_uri, document)
            gathered.rust_documents.setdefault(rust_uri, document)
            yield _ReachedSchema(target, document, python_uri, _rust_base(rust_uri, document))


def _rust_base(uri: str, document: Schema) -> str:
    schema_id = document.get("$id")
    return urljoin(uri, schema_id) if isinstance(schema_id, str) else uri


def _references(document: Schema) -> Iterator[str]:
    """Every `$ref` to another document."""
    todo: list[Any] = [document]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                yield reference
            todo += node.values()
        elif isinstance(node, list):
            todo += node
