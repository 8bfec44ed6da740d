"""Where items come from: one section per type of source, and how each proves who asks."""

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
    """The header or query parameter that carries the key."""

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
    """The scope to ask for, where the provider wants one."""


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="type")]


class BaseSourceConfig(Section):
    """What every source of items has; the section of a plugin's source type derives from this too."""

    type: str
    """The type of source."""

    collections: Collections
    """The exact ids of the collections; `stac-manager discover-collections` lists what a catalog has."""

    filters: Filters = Field(default_factory=Filters)
    """Which items of the collections are wanted; without filters, all of them."""

    @property
    def address(self) -> str:
        """Where the items are read from, for messages."""
        raise NotImplementedError


class StacApiConfig(BaseSourceConfig):
    """A STAC API that can be searched."""

    type: Literal["stac_api"] = "stac_api"
    """The type of source."""

    catalog_url: HttpUrl
    """The root of the API, as https://earth-search.aws.element84.com/v1."""

    profile: Text | None = None
    """A provider whose limits, page size and quirks are known by name."""

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
    """The address or the path of the root, as https://example.org/catalog.json."""

    auth: Auth | None = None
    """How requests are authorised; without it, they are anonymous."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.catalog_url


class LocalFilesConfig(BaseSourceConfig):
    """Tables or item files in folders that this machine can read."""

    type: Literal["local_files"]
    """The type of source."""

    paths: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Files, or patterns of files, as tables/*.csv."""

    format: Literal["csv", "json", "ndjson", "parquet"] | None = None
    """How the files are read; without it, by the ending of their names."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.paths[0]


class RasterFilesConfig(BaseSourceConfig):
    """Rasters whose headers tell what their items hold."""

    type: Literal["raster_files"]
    """The type of source."""

    paths: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Rasters, or patterns of rasters, as scenes/**/*.tif."""

    base_href: Location | None = None
    """What the links to the rasters start with, where that is not the path they are read from."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.paths[0]


class Pagination(Section):
    """How a JSON API hands out its records in pages."""

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
    """Where the records are asked for."""

    records: Text | None = None
    """The path to the list of records in an answer, as data.results; without it, the answer is the list."""

    parameters: dict[str, str] = Field(default_factory=dict)
    """Query parameters that every request carries."""

    pagination: Pagination = Field(default_factory=Pagination)
    """How the records are cut into pages."""

    auth: Auth | None = None
    """How requests are authorised; without it, they are anonymous."""

    @property
    def address(self) -> str:
        """Where the items are read from."""
        return self.url


def _type_of_source(value: Any) -> Any:
    return {"type": "stac_api", **value} if isinstance(value, dict) else value


def _of_plugin(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A source type that an entry point adds is checked by the model that comes with it."""
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
