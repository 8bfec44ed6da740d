"""Build what a chain works with from what its workflow says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stac_manager.config import ApiKeyAuth, Auth, BasicAuth, BearerAuth, OAuth2Auth, StacApiConfig, Workflow
from stac_manager.errors import UsageError
from stac_manager.http import ApiKey, Basic, Bearer, ClientCredentials, Credentials, HttpSettings
from stac_manager.ingest import PAGE_SIZE, SearchFilter, Source, StacApiSource
from stac_manager.validate import SchemaStore

__all__ = ["schema_store_of", "source_of"]


def schema_store_of(workflow: Workflow, schema_dirs: Sequence[Path] = (), *, offline: bool = False) -> SchemaStore:
    """The schemas that a workflow validates with; `schema_dirs` are looked at first."""
    validation = workflow.validation
    folders = [*schema_dirs, *(Path(folder) for folder in validation.schema_dirs)]
    return SchemaStore(folders, offline=offline or validation.offline)


def _credentials_of(auth: Auth | None) -> Credentials | None:
    match auth:
        case BearerAuth():
            return Bearer(auth.token.get_secret_value())
        case BasicAuth():
            return Basic(auth.username, auth.password.get_secret_value())
        case ApiKeyAuth():
            return ApiKey(auth.name, auth.key.get_secret_value(), in_query=auth.send_as == "query")
        case OAuth2Auth():
            secret = auth.client_secret.get_secret_value()
            return ClientCredentials(auth.token_url, auth.client_id, secret, auth.scope)
    return None


def source_of(workflow: Workflow, collection: str) -> Source:
    """The source of a collection, as its workflow describes it."""
    source, processing = workflow.source, workflow.processing
    if not isinstance(source, StacApiConfig):
        raise UsageError(f"the source type {source.type} is not supported yet")
    filters = source.filters
    spatial = filters.spatial
    return StacApiSource(
        source.address,
        collection,
        SearchFilter(
            bbox=tuple(spatial.bbox) if spatial and spatial.bbox else None,
            intersects=spatial.intersects if spatial else None,
            cql2=filters.cql2,
            query=filters.query,
        ),
        HttpSettings(
            concurrency=processing.concurrency,
            rate_limit=processing.rate_limit,
            attempts=processing.retry_max_attempts,
            timeout=processing.timeout_seconds,
        ),
        processing.page_size or PAGE_SIZE,
        _credentials_of(source.auth),
    )
