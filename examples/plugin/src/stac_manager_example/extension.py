"""An extension: how many assets an item has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stac_manager.errors import ItemStepError
from stac_manager.extension import Extension, StepConfig
from stac_manager.items import Item, loads


class AssetCountConfig(StepConfig):
    """The settings of the extension."""

    labels: Path | None = None
    """A JSON file: number of assets -> a label. Its content counts as part of the workflow."""


class AssetCount(Extension):
    """Sets `count:assets`, and `count:label` if there is a file of labels."""

    Config = AssetCountConfig
    schema_uri = "https://example.com/asset-count/v1.0.0/schema.json"

    def __init__(self, config: StepConfig) -> None:
        super().__init__(config)
        assert isinstance(config, AssetCountConfig)
        self._labels = loads(config.labels.read_bytes()) if config.labels else {}

    @classmethod
    def files(cls, config: StepConfig) -> Sequence[Path]:
        """The file of labels: when it changes, the stage is stale."""
        assert isinstance(config, AssetCountConfig)
        return [config.labels] if config.labels else []

    def extend(self, item: Item) -> None:
        """Count the assets."""
        assets = item.get("assets")
        if not isinstance(assets, dict):
            raise ItemStepError("`assets` is missing")
        item["properties"]["count:assets"] = len(assets)
        if str(len(assets)) in self._labels:
            item["properties"]["count:label"] = self._labels[str(len(assets))]
