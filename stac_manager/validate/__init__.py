"""Validation of STAC objects against the JSON Schemas of their STAC version and their extensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stac_manager.items import Item
from stac_manager.validate.engine import Level, Validator
from stac_manager.validate.report import ReportBuilder
from stac_manager.validate.store import SchemaStore
from stac_manager.validate.verdicts import ItemVerdict, SchemaFailure, SchemaUnavailableError, Verdict

__all__ = [
    "ItemVerdict",
    "Level",
    "ReportBuilder",
    "SchemaFailure",
    "SchemaStore",
    "SchemaUnavailableError",
    "ValidateModule",
    "Validator",
    "Verdict",
]


class ValidateModule:
    """Validates a stream of items; see `Validator` for the arguments."""

    def __init__(self, store: SchemaStore, level: Level = "strict", extra_schemas: Sequence[str] = ()) -> None:
        self._validator = Validator(store, level=level, extra_schemas=extra_schemas)

    def validate(self, items: Iterable[Item]) -> Iterator[tuple[Item, ItemVerdict]]:
        """Each item with its verdict, in the same order; only one item is in memory at a time."""
        for item in items:
            yield item, self._validator.check(item)
