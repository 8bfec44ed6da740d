"""The sections of sources, one for each type, and of their credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from stac_manager.config.fields import Collections, HttpUrl, Location, Section, Text, relocated
from stac_manager.config.filters import Filters
from stac_manager.registry import SOURCES

__all__ = [
    "ApiKeyAuth",
    "Auth",
    "BaseSourceConfig",
    "BasicAuth",
    "BearerAuth",
    "JsonApiConfig",
    "LocalFilesConfig",
    "OAuth2Auth",
    "Pagination",
    "RasterFilesConfig",
    "SourceConfig",
    "StacApiConfig",
    "StaticCatalogConfig",
]


class BearerAuth(Section):
    """A token in the `Authorization` header."""

    type: Literal["bearer"]
    """How requests are authorised."""

    token: SecretStr
    """The token, best as ${NAME} from the environment."""


class BasicAuth(Section):
    """A user and a password (HTTP Basic)."""

    type: Literal["basic"]
    """How requests are authorised."""

    username: Text
    """The user."""

    password: SecretStr
    """The password, best as ${NAME} from the environment."""


class ApiKeyAuth(Section):
    """A key in a header or in the query of each request."""

    type: Literal["api_key"]
    """How requests are authorised."""

    key: SecretStr
    """The key, best as ${NAME} from the environment."""

    name: Text = "X-API-Key"
    """The name of the header or query parameter for the key."""

    send_as: Literal["header", "query"] = "header"
    """Where the key goes."""


class OAuth2Auth(Section):
    """A token that is fetched with a client's own credentials (OAuth 2.0, client credentials grant)."""

    type: Literal["oauth2_client_credentials"]
    """How requests are authorised."""

    token_url: HttpUrl
    """Where tokens are fetched."""

    client_id: Text
    """The client."""

    client_secret: SecretStr
    """The client's secret, best as ${NAME} from the environment."""

    scope: Text | None = None
    """The scope to request, if the provider needs one."""


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="type")]


class BaseSourceConfig(Section):
    """The base of all source sections; the section of a plugin's source type derives from it too."""

    type: str
    """The type of source."""

    collections: Collections
    """The exact ids of the collections; `stac-manager discover-collections` lists what a catalog has."""

    filters: Filters = Field(default_factory=Filters)
    """Which items of the collections to fetch; without filters, all of them."""

    @property
    def address(self) -> str:
        """Where the items are read from, for messages."""
        return self.type


class StacApiConfig(BaseSourceConfig):
    """A STAC API that can be searched."""

    type: Literal["stac_api"] = "stac_api"
    """The type of source."""

    catalog_url: HttpUrl
    """The root of the API, such as https://earth-search.aws.element84.com/v1."""

    profile: Text | None = None
    """The name of a provider with known limits, page size and peculiarities."""

    auth: Auth | None = None
    """How search requests are authorised; without it, they are anonymous."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.catalog_url


class StaticCatalogConfig(BaseSourceConfig):
    """A catalog of linked JSON files."""

    type: Literal["static_catalog"]
    """The type of source."""

    catalog_url: Text
    """The URL or the path of the root, such as https://example.org/catalog.json."""

    auth: Auth | None = None
    """How requests are authorised; without it, they are anonymous."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.catalog_url


class LocalFilesConfig(BaseSourceConfig):
    """Tables or item files in local folders."""

    type: Literal["local_files"]
    """The type of source."""

    paths: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Files, or patterns of files, such as tables/*.csv."""

    format: Literal["csv", "json", "ndjson", "parquet"] | None = None
    """The format of the files; without it, their endings decide."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.paths[0]


class RasterFilesConfig(BaseSourceConfig):
    """Rasters, whose headers give the metadata of the items."""

    type: Literal["raster_files"]
    """The type of source."""

    paths: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Rasters, or patterns of rasters, such as scenes/**/*.tif."""

    base_href: Location | None = None
    """The start of the links to the rasters, if it is not the path they are read from."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.paths[0]


class Pagination(Section):
    """How a JSON API returns its records in pages."""

    style: Literal["none", "page", "offset", "link"] = "none"
    """By page number, by offset, by a link to the next page, or everything at once."""

    parameter: Text | None = None
    """The query parameter of the page number or the offset, or the path to the link in an answer."""

    size_parameter: Text | None = None
    """The query parameter of the page size."""


class JsonApiConfig(BaseSourceConfig):
    """An API that answers with JSON records that are not STAC items."""

    type: Literal["json_api"]
    """The type of source."""

    url: HttpUrl
    """The URL of the records."""

    records: Text | None = None
    """The path to the list of records in an answer, such as data.results; without it, the answer is the list."""

    parameters: dict[str, str] = Field(default_factory=dict)
    """Query parameters of every request."""

    pagination: Pagination = Field(default_factory=Pagination)
    """How the API returns the records in pages."""

    auth: Auth | None = None
    """How requests are authorised; without it, they are anonymous."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.url


def _type_of_source(value: Any) -> Any:
    return {"type": "stac_api", **value} if isinstance(value, dict) else value


def _of_plugin(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Validate a source type of an entry point by its own model."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in SOURCES.plugin_names:
        return handler(value)
    try:
        return SOURCES.get(kind).config.model_validate(value)
    except ValidationError as error:
        raise relocated(error, kind) from None


_BuiltIn = Annotated[
    StacApiConfig | StaticCatalogConfig | LocalFilesConfig | RasterFilesConfig | JsonApiConfig,
    Field(discriminator="type"),
]

if TYPE_CHECKING:
    SourceConfig = BaseSourceConfig
else:
    SourceConfig = Annotated[SerializeAsAny[_BuiltIn], WrapValidator(_of_plugin), BeforeValidator(_type_of_source)]
