"""Add STAC extensions to items and collections.

What belongs here: the interface of an extension, and the module that applies a list of them. Each built-in extension
has its own file and a line in `stac_manager.registry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from stac_manager.errors import ItemStepError
from stac_manager.item_steps import ItemStep, StepConfig, apply_steps
from stac_manager.items import Item
from stac_manager.quarantine import RejectedItem

__all__ = ["Extension", "ExtensionModule", "StepConfig"]


class Extension(ItemStep):
    """A STAC extension that is added to every item. Implement `extend`; the base class sets `stac_extensions`.

    Source: STAC item specification, `stac_extensions`.
    """

    schema_uri: ClassVar[str]
    """The URI of the extension's JSON Schema, which is added to `stac_extensions`."""

    def extend(self, item: Item) -> None:
        """Add the extension's fields to an item, in place.

        Raises:
            ItemStepError: the item does not have what the extension needs; it goes to quarantine.
        """
        raise NotImplementedError

    def extend_collection(self, collection: dict[str, Any]) -> None:
        """Add the extension's fields to the collection, in place; by default it adds none."""

    def apply(self, item: Item) -> Item:
        """The item with the extension's fields and schema URI."""
        self.extend(item)
        _declare(item, self.schema_uri)
        return item

    def apply_to_collection(self, collection: dict[str, Any]) -> dict[str, Any]:
        """The collection with the extension's fields; the schema URI is added only if there are any."""
        before = dict(collection)
        self.extend_collection(collection)
        if collection != before:
            _declare(collection, self.schema_uri)
        return collection


def _declare(document: dict[str, Any], schema_uri: str) -> None:
    named = document.get("stac_extensions")
    if named is not None and not isinstance(named, list):
        raise ItemStepError("`stac_extensions` is not a list")
    if schema_uri not in (named or ()):
        document["stac_extensions"] = [*(named or ()), schema_uri]


class ExtensionModule:
    """Applies extensions to a stream of items.

    Args:
        extensions: applied in this order; without any, items stay unchanged.
    """

    def __init__(self, extensions: Sequence[Extension] = ()) -> None:
        self.extensions = tuple(extensions)

    def apply(self, items: Iterable[Item]) -> Iterator[Item | RejectedItem]:
        """Every item with its extensions, in the same order; one that cannot be extended becomes a `RejectedItem`."""
        return apply_steps(self.extensions, items, "extended")
