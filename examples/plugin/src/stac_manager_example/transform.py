"""A transform: titles in capital letters."""

from __future__ import annotations

from stac_manager.errors import ItemStepError
from stac_manager.items import Item
from stac_manager.transform import Transform


class UpperCaseTitle(Transform):
    """Writes `properties.title` in capital letters; an item whose title is no text goes to quarantine."""

    def apply(self, item: Item) -> Item:
        """The item with its title in capital letters."""
        title = item["properties"].get("title")
        if title is not None and not isinstance(title, str):
            raise ItemStepError(f"`properties.title` is {title!r}, not a text")
        if title:
            item["properties"]["title"] = title.upper()
        return item
