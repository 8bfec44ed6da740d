"""Workflow files: the model, the loader, which reports every problem at once, and the features of this version."""

from stac_manager.config.fields import dagster_name
from stac_manager.config.filters import Filters, SpatialFilter, TemporalFilter
from stac_manager.config.load import load_workflow, load_workflows
from stac_manager.config.model import (
    ExtensionConfig,
    Logging,
    OutputConfig,
    Partitions,
    Processing,
    Sync,
    Transformation,
    TransformConfig,
    Validation,
    Workflow,
    WorkflowInfo,
)
from stac_manager.config.sources import (
    ApiKeyAuth,
    Auth,
    BaseSourceConfig,
    BasicAuth,
    BearerAuth,
    JsonApiConfig,
    LocalFilesConfig,
    OAuth2Auth,
    Pagination,
    RasterFilesConfig,
    SourceConfig,
    StacApiConfig,
    StaticCatalogConfig,
)
from stac_manager.config.support import unsupported

__all__ = [
    "ApiKeyAuth",
    "Auth",
    "BaseSourceConfig",
    "BasicAuth",
    "BearerAuth",
    "ExtensionConfig",
    "Filters",
    "JsonApiConfig",
    "LocalFilesConfig",
    "Logging",
    "OAuth2Auth",
    "OutputConfig",
    "Pagination",
    "Partitions",
    "Processing",
    "RasterFilesConfig",
    "SourceConfig",
    "SpatialFilter",
    "StacApiConfig",
    "StaticCatalogConfig",
    "Sync",
    "TemporalFilter",
    "TransformConfig",
    "Transformation",
    "Validation",
    "Workflow",
    "WorkflowInfo",
    "dagster_name",
    "load_workflow",
    "load_workflows",
    "unsupported",
]
