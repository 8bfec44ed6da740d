"""Build the parts of a chain (source, transforms, extensions, schemas, outputs) from its workflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stac_manager.config import Workflow
from stac_manager.errors import PluginError
from stac_manager.extension import Extension
from stac_manager.ingest import ReadOnceSource, RoutedSource, Source
from stac_manager.item_steps import ItemStep
from stac_manager.output import Output
from stac_manager.plugin_errors import plugin_errors
from stac_manager.registry import EXTENSIONS, OUTPUTS, SOURCES, TRANSFORMS, Registry
from stac_manager.transform import Transform
from stac_manager.validate import SchemaStore

__all__ = ["extensions_of", "outputs_of", "schema_store_of", "source_of", "transforms_of"]


def schema_store_of(workflow: Workflow, schema_dirs: Sequence[Path] = (), *, offline: bool = False) -> SchemaStore:
    """The schemas for the validation of a workflow; `schema_dirs` are searched first."""
    validation = workflow.validation
    folders = [*schema_dirs, *(Path(folder) for folder in validation.schema_dirs)]
    return SchemaStore(folders, offline=offline or validation.offline)


def source_of(workflow: Workflow, collection: str) -> Source:
    """The source of a collection, as the workflow configures it."""
    built = SOURCES.get(workflow.source.type).build(workflow, collection)
    return RoutedSource(built) if isinstance(built, ReadOnceSource) else built


def transforms_of(workflow: Workflow) -> list[Transform]:
    """The transforms that a workflow declares, in their order."""
    declared = workflow.transformation.transforms if workflow.transformation else ()
    return [_built(TRANSFORMS, one.name, one.config) for one in declared]


def extensions_of(workflow: Workflow) -> list[Extension]:
    """The extensions that a workflow declares, in their order."""
    return [_built(EXTENSIONS, one.name, one.config) for one in workflow.extensions]


def _built[T: ItemStep](registry: Registry[type[T]], name: str, config: dict[str, Any]) -> T:
    with plugin_errors(PluginError, f"the {registry.kind} {name!r} cannot be set up"):
        return registry.get(name).of(config)


def outputs_of(workflow: Workflow) -> list[Output]:
    """The formats that a workflow publishes in, in their order."""
    return [OUTPUTS.get(name) for name in workflow.output.format]
