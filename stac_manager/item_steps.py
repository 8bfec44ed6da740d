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
from stac_manager.items import Item, dumps, item_problem, loads
from stac_manager.quarantine import RejectedItem

__all__ = ["ItemStep", "StepConfig", "apply_steps"]


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
        source, item_id = dumps(item) if steps else b"", item.get("id")
        try:
            changed = item
            for step in steps:
                changed = step.apply(changed)
                _require_item(step, changed, item_id)
        except ItemStepError as error:
            yield RejectedItem(
                item_id if isinstance(item_id, str) else None, error.error_type, str(error), stage, loads(source)
            )
        else:
            yield changed


def _require_item(step: ItemStep, item: Any, item_id: Any) -> None:
    problem = item_problem(item)
    if not problem and item["id"] != item_id:
        problem = f"has the id {item['id']!r} instead of {item_id!r}"
    if problem:
        raise ItemStepError(f"{type(step).__name__} made something that is no item: it {problem}")
    try:
        dumps(item)
    except TypeError as error:
        raise ItemStepError(f"{type(step).__name__} made something that is no JSON: {error}") from None
