"""Change the metadata of items.

What belongs here: the interface of a transform, and the module that applies a list of them. Each built-in transform has
its own file and a line in `stac_manager.registry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stac_manager.item_steps import ItemStep, StepConfig, apply_steps
from stac_manager.items import Item
from stac_manager.quarantine import RejectedItem

__all__ = ["StepConfig", "Transform", "TransformModule"]


class Transform(ItemStep):
    """A change of items. Implement `apply`."""


class TransformModule:
    """Applies transforms to a stream of items.

    Args:
        transforms: applied in this order; without any, items stay unchanged.
    """

    def __init__(self, transforms: Sequence[Transform] = ()) -> None:
        self.transforms = tuple(transforms)

    def apply(self, items: Iterable[Item]) -> Iterator[Item | RejectedItem]:
        """Every item after all transforms, in the same order; one that cannot be changed becomes a `RejectedItem`."""
        return apply_steps(self.transforms, items, "transformed")
