"""A source whose items may be changed, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from stac_manager.files import read_lines
from stac_manager.output import read_geoparquet
from stac_manager.pipeline import STAGES, Chain, Manifest
from stac_manager.pipeline.sync.runs import PartitionResult, sync
from tests.workflows import make_workflow

__all__ = ["Site"]


class Site:
    """A source whose items may be changed, and a chain on it."""

    def __init__(self, url: str, items: list[dict[str, Any]], folder: Path, **changes: Any) -> None:
        self.url, self.items, self.folder = url, items, folder
        self.workflow = make_workflow(folder, url, **changes)
        self.chain = Chain.of(self.workflow, "c")

    def run(self, partition: str = "2024-01", *, allow_deletes: bool = False) -> dict[str, Manifest]:
        done = {stage: self.chain.run(stage, partition, allow_deletes=allow_deletes) for stage in STAGES}
        self.chain.publish_collection()
        return done

    def published(self, partition: str = "2024-01") -> dict[str, dict[str, Any]]:
        path = self.folder / "data" / "published" / "c" / "items" / f"{partition}.parquet"
        return {item["id"]: item for item in read_geoparquet(path)} if path.exists() else {}

    def quarantine(self, partition: str = "2024-01") -> list[dict[str, Any]]:
        path = self.folder / "data" / "quarantine" / "c" / f"{partition}.ndjson"
        return [orjson.loads(line) for line in read_lines(path)] if path.exists() else []

    def files(self) -> dict[str, tuple[bytes, int]]:
        root = self.folder / "data"
        found = [path for path in root.rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}

    def sync(self, **options: Any) -> dict[str, PartitionResult]:
        """Bring the catalog in step, by a process of its own as it were."""
        self.chain = Chain.of(self.workflow, "c")
        return {result.partition: result for result in sync(self.chain, **options)}

    def everywhere(self) -> dict[str, list[str]]:
        """Id -> the partitions it is published in."""
        found: dict[str, list[str]] = {}
        for path in sorted((self.folder / "data" / "published" / "c" / "items").glob("*.parquet")):
            for item_id in self.published(path.stem):
                found.setdefault(item_id, []).append(path.stem)
        return found
