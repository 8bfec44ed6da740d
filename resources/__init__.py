"""Dagster resources: thin wrappers of the library's sources, storage and schema store.

A deployment configures them, and a test replaces them. Secrets come from `dg.EnvVar`, so that Dagster stores the name
and never the value.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field

from stac_manager.config import Workflow
from stac_manager.errors import StacManagerError
from stac_manager.ingest import Source
from stac_manager.logs import configure_logging
from stac_manager.pipeline import Chain, schema_store_of, source_of
from stac_manager.storage import Storage
from stac_manager.validate import SchemaStore

__all__ = ["RESOURCES", "SchemaStoreResource", "SourceResource", "StorageResource", "open_chain"]


class StorageResource(dg.ConfigurableResource[Storage]):
    """Where catalogs are stored."""

    root: str | None = None
    """Overrides the workflow's `output.path`."""

    def of(self, workflow: Workflow) -> Storage:
        """The storage of a workflow."""
        return Storage(self.root or workflow.output.path)


class SchemaStoreResource(dg.ConfigurableResource[SchemaStore]):
    """Where schemas come from."""

    schema_dirs: list[str] = Field(default_factory=list)
    """Folders that are searched before the workflow's own folders."""
    offline: bool = False
    """Never use the network, whatever the workflow says."""

    def of(self, workflow: Workflow) -> SchemaStore:
        """The schema store of a workflow."""
        return schema_store_of(workflow, [Path(folder) for folder in self.schema_dirs], offline=self.offline)


class SourceResource(dg.ConfigurableResource[Source]):
    """Where items come from."""

    def of(self, workflow: Workflow, collection: str) -> Source:
        """The source of a collection."""
        return source_of(workflow, collection)


RESOURCES: dict[str, object] = {
    "storage": StorageResource(),
    "schemas": SchemaStoreResource(),
    "source": SourceResource(),
}
"""The default resources of the definitions."""


def open_chain(
    workflow: Workflow,
    collection: str,
    storage: StorageResource,
    schemas: SchemaStoreResource,
    source: SourceResource,
) -> Chain:
    """The library's chain of a collection, with these resources and the workflow's logging."""
    try:
        configure_logging(workflow.logging.level, workflow.logging.file)
    except StacManagerError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    return Chain(workflow, collection, storage.of(workflow), source.of(workflow, collection), schemas.of(workflow))
