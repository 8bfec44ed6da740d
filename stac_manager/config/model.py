"""The model of a workflow file: all sections, their defaults, and the rules between sections.

The sections of sources and filters are in `sources` and `filters`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from stac_manager.config.fields import (
    NO_START,
    NOT_BOOL,
    Broken,
    Instant,
    LastInstant,
    Location,
    Section,
    Text,
    refuse,
    relocated,
    rule,
)
from stac_manager.config.sources import SourceConfig
from stac_manager.partitioning import PartitionBy, PartitionScheme
from stac_manager.registry import EXTENSIONS, OUTPUTS, TRANSFORMS, Registry

__all__ = [
    "ExtensionConfig",
    "Logging",
    "OutputConfig",
    "Partitions",
    "Processing",
    "Sync",
    "TransformConfig",
    "Transformation",
    "Validation",
    "Workflow",
    "WorkflowInfo",
]

_OUTPUT_FORMATS = ("parquet", "json", "pgstac")
"""The formats without plugins; `config.support` has those that this version supports."""

_NAME = r"[A-Za-z0-9_-]{1,63}"
_OWNER = r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"


def _name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise rule("a name of at most 63 letters a-z and A-Z, digits, `-` and `_`")
    return value


def _owners(values: tuple[str, ...]) -> tuple[str, ...]:
    refuse(
        ((index,), "an e-mail address, or a team as team:name")
        for index, value in enumerate(values)
        if not re.fullmatch(_OWNER, value)
    )
    return values


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    first = {value: index for index, value in reversed(list(enumerate(values)))}
    refuse(((index,), "each entry once") for index, value in enumerate(values) if first[value] != index)
    return values


def _mapping_schema(value: Any) -> str | dict[str, Any]:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, dict) and value:
        return value
    raise rule("the path of a mapping file, or the mapping itself")


class WorkflowInfo(Section):
    """The name and the owners of the workflow."""

    name: Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{_NAME}$"})]
    """The name; it becomes the group of the workflow's assets in Dagster."""

    description: Text | None = None
    """The purpose of the workflow, in a sentence."""

    owners: Annotated[tuple[str, ...], AfterValidator(_owners)] = ()
    """The owners of the catalog: e-mail addresses, or teams as team:name."""


class _StepConfig(Section):
    """A step, by its name, with a config that the step's own model validates."""

    registry: ClassVar[Registry[Any]]

    name: Text
    """The name of the step."""

    config: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    """The settings of the step."""

    @field_validator("config")
    @classmethod
    def _as_its_model_says(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("name")
        if isinstance(name, str) and name in cls.registry:
            try:
                cls.registry.get(name).Config.model_validate(config)
            except ValidationError as error:
                raise relocated(error) from None
        return config  # `config.support` reports an unknown name


class TransformConfig(_StepConfig):
    """A transform that is applied to every item."""

    registry = TRANSFORMS

    name: Text
    """The name of the transform."""


class Transformation(Section):
    """How items are changed: by a mapping, or by transforms of other packages."""

    mapping_schema: (
        Annotated[
            str | dict[str, Any],
            PlainValidator(_mapping_schema),
            WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "object", "minProperties": 1}]}),
        ]
        | None
    ) = None
    """The path of a mapping file, or the mapping itself."""

    transforms: tuple[TransformConfig, ...] = ()
    """Transforms by name, applied in this order."""


class ExtensionConfig(_StepConfig):
    """A STAC extension that is added to every item."""

    registry = EXTENSIONS

    name: Text
    """The name of the extension, such as alternate-assets."""


class Validation(Section):
    """How items are validated before they are published."""

    level: Literal["strict", "lenient"] = "strict"
    """strict: an invalid item goes to quarantine; lenient: it is published and reported."""

    schemas: Annotated[tuple[Text, ...], AfterValidator(_each_once)] = ()
    """URLs or paths of further JSON Schemas that every item must pass."""

    schema_dirs: Annotated[tuple[Text, ...], AfterValidator(_each_once)] = ()
    """Folders with schemas, with the layout <host>/<path>; searched before the packaged schemas and the network."""

    offline: bool = False
    """true: schemas are never downloaded; items that need an unknown schema count as unchecked."""

    round_trip: Literal["all"] | Annotated[int, Field(ge=0)] = 20
    """How many items of each partition the check round_trip compares one by one with the published file; the others by
    a checksum. All of them are compared if the file has columns that the collection did not have before."""


def _output_format(value: str) -> str:
    known = (*_OUTPUT_FORMATS, *OUTPUTS.plugin_names)
    if value not in known:
        raise rule(f"one of {', '.join(known)}")
    return value


OutputFormat = Annotated[
    str, AfterValidator(_output_format), WithJsonSchema({"enum": list(_OUTPUT_FORMATS), "type": "string"})
]


class OutputConfig(Section):
    """Where the catalog is published, and in which formats."""

    path: Location = "./data"
    """A folder, or a bucket as s3://…, gs://… or az://…; all files are stored below it."""

    format: Annotated[tuple[OutputFormat, ...], Field(min_length=1), AfterValidator(_each_once)] = ("parquet",)
    """The formats to publish in."""

    organize_by: Literal["collection"] = "collection"
    """The layout of the published files."""


class Partitions(Section):
    """How each collection is cut into partitions by time."""

    by: PartitionBy = "month"
    """The length of one partition."""

    start: Instant | None = None
    """A moment in the first partition; without it, `source.filters.temporal.start_date`."""

    end: LastInstant | None = None
    """A moment in the last partition; without it, `source.filters.temporal.end_date`, else the present."""

    per_run: Annotated[int, Field(ge=1, le=1000), NOT_BOOL] | None = None
    """The number of partitions of one Dagster run in a backfill; a greater number suits collections with few items."""


class Sync(Section):
    """How the catalog is kept up to date with its source."""

    every_minutes: Annotated[float, Field(ge=0.05, le=525_600), NOT_BOOL] = 15
    """Minutes between two sync checks."""

    latest_windows: Annotated[int, Field(ge=1, le=1000), NOT_BOOL] = 2
    """How many of the latest partitions each sync check probes; older ones are probed in turn."""

    request_budget: Annotated[int, Field(ge=1, le=100_000), NOT_BOOL] = 60
    """About how many requests one sync check may use; the next check continues where the budget ended."""

    overlap_minutes: Annotated[float, Field(ge=0, le=525_600), NOT_BOOL] = 60
    """Minutes before the watermark from which changes are requested: updates become visible late, and clocks differ."""

    delete_threshold: Annotated[float, Field(ge=0, le=1), NOT_BOOL] = 0.1
    """The share of a partition's items above which deletions at the source await a person's approval."""


class Processing(Section):
    """Limits for requests to the source, and how many processes work."""

    concurrency: Annotated[int, Field(ge=1, le=64), NOT_BOOL] = 5
    """The greatest number of requests at the same time."""

    rate_limit: Annotated[float, Field(gt=0, le=10_000), NOT_BOOL] | None = None
    """The greatest number of requests a second; without it, as many as `concurrency` allows."""

    retry_max_attempts: Annotated[int, Field(ge=1, le=50), NOT_BOOL] = 5
    """The number of tries of a request, including the first one."""

    timeout_seconds: Annotated[float, Field(gt=0, le=3600), NOT_BOOL] = 60
    """Seconds until one request counts as failed."""

    page_size: Annotated[int, Field(ge=1, le=10_000), NOT_BOOL] | None = None
    """Items a page; without it, a number that suits the source."""

    workers: Annotated[int, Field(ge=1, le=1000), NOT_BOOL] | None = None
    """The number of processes of `rebuild-catalog` that run partitions side by side; without it, one for each core."""


class Logging(Section):
    """The level and the file of the log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged."""

    file: Text | None = None
    """A log file, in addition to the terminal; it is appended to, and its folders are created."""


def _member(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value


_NOTHING: Mapping[str, set[str]] = {}


def _hashed(value: Any) -> str | None:
    return None if isinstance(value, SecretStr) else str(value)


class Workflow(Section):
    """A catalog to keep up to date: where its items come from, how they are changed, and where they are published."""

    workflow: WorkflowInfo
    """The name and the owners of the workflow."""

    source: SourceConfig
    """Where the items come from."""

    transformation: Transformation | None = None
    """How items are changed; without it, they are not."""

    extensions: tuple[ExtensionConfig, ...] = ()
    """STAC extensions that are added to every item, in this order."""

    validation: Validation = Field(default_factory=Validation)
    """How items are validated before they are published."""

    output: OutputConfig = Field(default_factory=OutputConfig)
    """Where the catalog is published, and in which formats."""

    partitions: Partitions = Field(default_factory=Partitions, validate_default=True)
    """How each collection is cut into partitions by time."""

    sync: Sync = Field(default_factory=Sync)
    """How the catalog is kept up to date with its source."""

    processing: Processing = Field(default_factory=Processing)
    """Limits for requests to the source, and how many processes work."""

    logging: Logging = Field(default_factory=Logging)
    """The level and the file of the log."""

    @model_validator(mode="before")
    @classmethod
    def _start_somewhere(cls, data: Any) -> Any:
        # A field validator would see this only if `source` is valid, but all problems are reported at once.
        if not isinstance(data, dict) or _member(data, "source", "filters", "temporal", "start_date") is not None:
            return data
        partitions = data.get("partitions")
        partitions = {} if partitions is None else partitions
        if not isinstance(partitions, dict) or partitions.get("start") is not None:
            return data
        return {**data, "partitions": {**partitions, "start": NO_START}}

    @field_validator("partitions")
    @classmethod
    def _start_before_the_end(cls, partitions: Partitions, info: ValidationInfo) -> Partitions:
        temporal = _member(info.data.get("source"), "filters", "temporal")
        if temporal is None:
            return partitions
        start, end = partitions.start or temporal.start_date, partitions.end or temporal.end_date
        broken: list[Broken] = []
        if start is None:
            broken.append((("start",), "where the first partition starts"))
        elif end is not None and end <= start and partitions.end:
            broken.append((("end",), "a time after the start of the first partition"))
        elif end is not None and end <= start:
            broken.append((("start",), "a time before `source.filters.temporal.end_date`"))
        refuse(broken)
        return partitions

    @property
    def collections(self) -> tuple[str, ...]:
        """The ids of the collections, in the order of the file."""
        return self.source.collections

    def scheme(self) -> PartitionScheme:
        """The partitions of each collection, from `partitions`, with defaults from the temporal filter."""
        temporal = self.source.filters.temporal
        start = self.partitions.start or temporal.start_date
        assert start is not None, "a workflow without a start cannot be loaded"
        return PartitionScheme(self.partitions.by, start, self.partitions.end or temporal.end_date)

    def section_hash(self, *names: str, leaving_out: Mapping[str, set[str]] = _NOTHING) -> str:
        """16 hex digits that change if one of these top-level sections changes, for code versions.

        `leaving_out` lists members, by section, that do not count. A default counts as absent, and secrets do not
        count, so a new password changes nothing.

        Raises:
            ValueError: there is no section of that name.
        """
        unknown = set(names) - set(type(self).model_fields)
        if unknown:
            raise ValueError(f"a workflow has no section {', '.join(sorted(unknown))}")
        sections = self.model_dump(include=set(names), exclude=dict(leaving_out), exclude_defaults=True)
        canonical = json.dumps(sections, sort_keys=True, separators=(",", ":"), default=_hashed)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
