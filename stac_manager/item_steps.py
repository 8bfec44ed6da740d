"""A step that changes items one by one: what a transform and an extension have in common.

What belongs here: the protocol, and how a list of steps is applied. What does not: any single step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from stac_manager.errors import ItemStepError
from stac_manager.items import Item, dumps, has_non_json, item_problem, loads
from stac_manager.plugin_errors import plugin_errors
from stac_manager.quarantine import RejectedItem

_KEPT = ("id", "collection")
"""Members of an item that no step may change: what is stored goes by them."""

__all__ = ["ItemStep", "StepConfig", "apply_steps", "described_by_steps"]


class StepConfig(BaseModel):
    """The config of a step that needs none. A step with a config has its own model, which derives from this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemStep(ABC):
    """Item in, item out; a step must not change the id.

    A step is built once for a collection from its section of the workflow file, and then called for every item. The
    same item must give the same result: no clock, no network, no state from one item to the next.
    """

    Config: ClassVar[type[StepConfig]] = StepConfig
    """The model of `config` in the workflow file. Unknown keys are an error when the file is read."""

    version: ClassVar[str] = "1"
    """Raise it when the code gives another result for the same item: the stage is then stale in all partitions."""

    def __init__(self, config: StepConfig) -> None:
        self.config = config

    @classmethod
    def of(cls, config: dict[str, Any]) -> Self:
        """The step for a plain config.

        Raises:
            pydantic.ValidationError: the config does not match `Config`.
        """
        return cls(cls.Config.model_validate(config))

    @classmethod
    def files(cls, config: StepConfig) -> Sequence[Path]:
        """Files and folders that the config names; their content counts as part of the workflow."""
        return ()

    @abstractmethod
    def apply(self, item: Item) -> Item:
        """The changed item. The step may change the item in place.

        Raises:
            ItemStepError: the step cannot change this item; it goes to quarantine with the error's text.
        """

    def apply_to_collection(self, collection: dict[str, Any]) -> dict[str, Any]:
        """The changed STAC Collection; by default it is unchanged."""
        return collection


def apply_steps(steps: Sequence[ItemStep], items: Iterable[Item], stage: str) -> Iterator[Item | RejectedItem]:
    """Every item after all steps, in the same order; one that a step rejects becomes a `RejectedItem`."""
    for item in items:
        source = dumps(item) if steps else b""
        kept = {name: item.get(name) for name in _KEPT}
        try:
            changed = item
            for step in steps:
                with plugin_errors(ItemStepError, type(step).__name__):
                    changed = step.apply(changed)
                _require_item(step, changed, kept)
        except ItemStepError as error:
            item_id = kept["id"] if isinstance(kept["id"], str) else None
            yield RejectedItem(item_id, error.error_type, str(error), stage, loads(source))
        else:
            yield changed


def _require_item(step: ItemStep, item: Any, kept: dict[str, Any]) -> None:
    name = type(step).__name__
    problem = item_problem(item)
    if problem:
        raise ItemStepError(f"{name} made something that is no item: it {problem}")
    for member, value in kept.items():
        if item.get(member) != value:
            raise ItemStepError(f"{name} changed `{member}` from {value!r} to {item.get(member)!r}")
    try:
        dumps(item)
    except TypeError as error:
        raise ItemStepError(f"{name} made something that is no JSON: {error}") from None
    if has_non_json(item):
        raise ItemStepError(f"{name} made something that is no JSON: it holds NaN or Infinity")


def described_by_steps(steps: Sequence[ItemStep], collection: dict[str, Any]) -> dict[str, Any]:
    """The STAC Collection after all steps.

    Raises:
        ItemStepError: a step fails, or makes something that is not this collection.
    """
    for step in steps:
        with plugin_errors(ItemStepError, f"{type(step).__name__} on the collection"):
            changed = step.apply_to_collection(loads(dumps(collection)))
            dumps(changed)
        if not isinstance(changed, dict) or changed.get("id") != collection.get("id"):
            raise ItemStepError(f"{type(step).__name__} made something that is not the collection {collection['id']!r}")
        collection = changed
    return collection
