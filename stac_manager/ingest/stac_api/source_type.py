"""The source type `stac_api`: it builds the source from a workflow."""

from __future__ import annotations

from stac_manager.config import ApiKeyAuth, Auth, BasicAuth, BearerAuth, OAuth2Auth, StacApiConfig, Workflow
from stac_manager.http import ApiKey, Basic, Bearer, ClientCredentials, Credentials, HttpSettings
from stac_manager.ingest.stac_api.search_filter import SearchFilter
from stac_manager.ingest.stac_api.source import PAGE_SIZE, StacApiSource

__all__ = ["STAC_API"]


class _StacApi:
    config = StacApiConfig

    def build(self, workflow: Workflow, collection: str) -> StacApiSource:
        """The source of a collection, as the workflow configures it."""
        source, processing = workflow.source, workflow.processing
        assert isinstance(source, StacApiConfig), "the registry gives a source type its own config"
        filters = source.filters
        spatial = filters.spatial
        return StacApiSource(
            source.catalog_url,
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


STAC_API = _StacApi()
"""The source type `stac_api`."""
