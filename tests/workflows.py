"""Workflows over the demo's server, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from stac_manager.config import Workflow, load_workflow


def write_workflow(folder: Path, url: str, **changes: Any) -> Path:
    """A workflow file for collection `c` by month from January to March 2024, with these sections changed."""
    document: dict[str, Any] = {
        "workflow": {"name": "w"},
        "source": {"type": "stac_api", "catalog_url": url, "collections": ["c"]},
        "validation": {"offline": True, "round_trip": "all"},
        "output": {"path": str(folder / "data")},
        "partitions": {"by": "month", "start": "2024-01-01", "end": "2024-03-31"},
        "processing": {"retry_max_attempts": 2, "workers": 1},
    }
    for section, values in changes.items():
        document[section] = {**document.get(section, {}), **values}
    path = folder / "w.yaml"
    path.write_bytes(orjson.dumps(document))
    return path


def make_workflow(folder: Path, url: str, **changes: Any) -> Workflow:
    """The same, read."""
    return load_workflow(write_workflow(folder, url, **changes))
