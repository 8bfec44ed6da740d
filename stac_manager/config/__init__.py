"""Workflow files: the model, reading them with every problem at once, and what this version supports of them."""

from stac_manager.config.filters import Filters, SpatialFilter, TemporalFilter
from stac_manager.config.load import load_workflow, load_workflows
from stac_manager.config.model import (
    Extension,
    Logging,
    Output,
    Partitions,
    Processing,
    Sync,
    Transformation,
    Validation,
    Workflow,
    WorkflowInfo,
)
from stac_manager.config.sources import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    JsonApiSource,
    LocalFilesSource,
    OAuth2Auth,
    Pagination,
    RasterFilesSource,
    Source,
    StacApiSource,
    StaticCatalogSource,
)
from stac_manager.config.support import unsupported

__all__ = [
    "ApiKeyAuth",
    "Auth",
    "BasicAuth",
    "BearerAuth",
    "Extension",
    "Filters",
    "JsonApiSource",
    "LocalFilesSource",
    "Logging",
    "OAuth2Auth",
    "Output",
    "Pagination",
    "Partitions",
    "Processing",
    "RasterFilesSource",
    "Source",
    "SpatialFilter",
    "StacApiSource",
    "StaticCatalogSource",
    "Sync",
    "TemporalFilter",
    "Transformation",
    "Validation",
    "Workflow",
    "WorkflowInfo",
    "load_workflow",
    "load_workflows",
    "unsupported",
]
