"""Keep STAC catalogs up to date: sync, validate and publish them, from Python, the command line or Dagster.

    >>> from stac_manager import Chain, load_workflow
    >>> workflow = load_workflow("workflows/earth-search.yaml")
    >>> chain = Chain.of(workflow, "sentinel-2-l2a")
    >>> chain.run("raw_items", "2024-06").ledger  # doctest: +SKIP

Each module can be used alone: discovery, ingest, transform, extension, validate, output. All errors derive from
`StacManagerError`. This file holds the public names only; it imports a module when one of its names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stac_manager.config import Workflow, load_workflow
    from stac_manager.discovery import DiscoveryModule
    from stac_manager.errors import StacManagerError
    from stac_manager.extension import ExtensionModule
    from stac_manager.ingest import IngestModule
    from stac_manager.output import OutputModule
    from stac_manager.pipeline import Chain
    from stac_manager.storage import Storage
    from stac_manager.transform import TransformModule
    from stac_manager.validate import ValidateModule

__all__ = [
    "Chain",
    "DiscoveryModule",
    "ExtensionModule",
    "IngestModule",
    "OutputModule",
    "StacManagerError",
    "Storage",
    "TransformModule",
    "ValidateModule",
    "Workflow",
    "load_workflow",
]

_MODULE_OF = {
    "Chain": "pipeline",
    "DiscoveryModule": "discovery",
    "ExtensionModule": "extension",
    "IngestModule": "ingest",
    "OutputModule": "output",
    "StacManagerError": "errors",
    "Storage": "storage",
    "TransformModule": "transform",
    "ValidateModule": "validate",
    "Workflow": "config",
    "load_workflow": "config",
}


def __getattr__(name: str) -> Any:
    # imported on first use, because `stac-manager --help` needs none of them
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
