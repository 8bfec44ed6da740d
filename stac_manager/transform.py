"""Change the metadata of items. While nothing is declared, items pass as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stac_manager.items import Item

__all__ = ["TransformModule"]


class TransformModule:
    """Item in, item out."""

    def apply(self, items: Iterable[Item]) -> Iterator[Item]:
        """Every item, unchanged, in its order."""
        yield from items
