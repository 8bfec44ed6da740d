"""The features of a workflow file that this version supports; others are reported by name, never ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stac_manager.config.fields import Where
from stac_manager.config.model import Workflow
from stac_manager.registry import EXTENSIONS, OUTPUTS, SOURCES, TRANSFORMS, Registry

__all__ = ["unsupported", "unsupported_in"]

PLANNED_SOURCES = ("static_catalog", "local_files", "raster_files", "json_api")
PLANNED_FORMATS = ("json", "pgstac")

_ABSENT: tuple[tuple[Where, str, str], ...] = (
    (("source", "profile"), "a provider profile", "takes limits and page sizes from `processing`"),
    (("transformation", "mapping_schema"), "a mapping", "takes `transformation.transforms` by name"),
    (("validation", "schemas"), "a list of further schemas", "looks schemas up in `validation.schema_dirs`"),
)


def unsupported(workflow: Workflow) -> list[tuple[Where, str]]:
    """The features of a workflow that this version does not support: the path, and a sentence with the alternative."""
    return unsupported_in(workflow.model_dump(exclude_defaults=True))


def unsupported_in(data: Mapping[str, Any]) -> list[tuple[Where, str]]:
    """The same for the plain data of a workflow file, which may have other problems too."""
    return list(_refused(data))


def _refused(data: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    kind = _at(data, ("source", "type"))
    if kind in PLANNED_SOURCES and kind not in SOURCES:
        yield ("source", "type"), _sentence(f"the source type {kind}", f"reads {_names(SOURCES)}")
    if kind in SOURCES.plugin_names:
        honoured = getattr(SOURCES.get(kind), "filters", ())
        for name in ("spatial", "cql2", "query"):
            if name not in honoured and _at(data, ("source", "filters", name)):
                yield ("source", "filters", name), "a workflow without it: this source type does not filter by it"
    for where, what, instead in _ABSENT:
        if _at(data, where):
            yield where, _sentence(what, instead)
    formats = _at(data, ("output", "format"))
    for index, name in enumerate(formats if isinstance(formats, list | tuple) else ()):
        if name in PLANNED_FORMATS and name not in OUTPUTS:
            yield ("output", "format", index), _sentence(f"the format {name}", f"publishes {_names(OUTPUTS)}")
    yield from _unknown_steps(data, ("extensions",), EXTENSIONS)
    yield from _unknown_steps(data, ("transformation", "transforms"), TRANSFORMS)


def _unknown_steps(data: Mapping[str, Any], where: Where, registry: Registry[Any]) -> Iterator[tuple[Where, str]]:
    steps = _at(data, where)
    for index, step in enumerate(steps if isinstance(steps, list | tuple) else ()):
        name = _at(step, ("name",))
        if isinstance(name, str) and name not in registry:
            yield (*where, index, "name"), _sentence(f"this {registry.kind}", f"has {_names(registry)}")


def _names(registry: Registry[Any]) -> str:
    return ", ".join(f"`{name}`" for name in registry.names) or "none; packages can add some"


def _sentence(what: str, instead: str) -> str:
    return f"a workflow without it: {what} is not supported yet; this version {instead}"


def _at(data: Any, where: Where) -> Any:
    for step in where:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data
