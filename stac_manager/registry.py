"""What can be added without changing the core: one registry for sources, outputs, extensions, transforms and checks.

What belongs here: the registries, and how entry points of other packages are added. What does not: the things that are
registered. An entry is a reference, `module:name`, which is imported on first use. So a look-up of names imports
nothing, and `config` can do it without knowing the modules.

A package adds an entry by an entry point in the registry's group, for example `stac_manager.sources`.
Source: PyPA, "Entry points specification".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from stac_manager.errors import PluginError

if TYPE_CHECKING:
    from stac_manager.extension import Extension
    from stac_manager.ingest import SourceType
    from stac_manager.output import Output
    from stac_manager.pipeline.checks import Check
    from stac_manager.transform import Transform

__all__ = ["CHECKS", "EXTENSIONS", "OUTPUTS", "SOURCES", "TRANSFORMS", "Registry"]


class Registry[T]:
    """Named entries of one kind, built in or from entry points.

    Args:
        kind: the kind of an entry, in the singular, for messages.
        group: the entry point group.
        built_in: name -> reference `module:name`.
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._built_in = dict(built_in)
        self._loaded: dict[str, T] = {}

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self._built_in or point.name in found:
                raise PluginError(
                    f"entry point {point.name!r} of {_package(point)} in {self.group}: "
                    f"the {self.kind} {point.name!r} is there already; rename the entry point"
                )
            found[point.name] = point
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Every name: the built-in ones in their order, then those of plugins, sorted.

        Raises:
            PluginError: an entry point has a name that exists already.
        """
        return (*self._built_in, *sorted(self._plugins))

    @property
    def plugin_names(self) -> tuple[str, ...]:
        """The names that entry points add, sorted."""
        return tuple(sorted(self._plugins))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def get(self, name: str) -> T:
        """The entry of a name.

        Raises:
            KeyError: there is none.
            PluginError: a plugin cannot be imported.
        """
        if name not in self._loaded:
            self._loaded[name] = cast("T", self._load(name))
        return self._loaded[name]

    def all(self) -> dict[str, T]:
        """Every entry by its name."""
        return {name: self.get(name) for name in self.names}

    def _load(self, name: str) -> Any:
        if name in self._built_in:
            module, _, attribute = self._built_in[name].partition(":")
            return getattr(import_module(module), attribute)
        point = self._plugins[name]
        try:
            return point.load()
        except Exception as error:  # a plugin's module may raise anything on import
            raise PluginError(
                f"the {self.kind} {name!r} of {_package(point)} cannot be loaded from {point.value}: {error}"
            ) from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


SOURCES: Registry[SourceType] = Registry(
    "source type",
    "stac_manager.sources",
    {"stac_api": "stac_manager.ingest.stac_api.source_type:STAC_API"},
)
"""`source.type` of a workflow -> how this type of source is configured and built."""

TRANSFORMS: Registry[type[Transform]] = Registry("transform", "stac_manager.transforms", {})
"""`transformation.transforms[].name` -> the class."""

EXTENSIONS: Registry[type[Extension]] = Registry("extension", "stac_manager.extensions", {})
"""`extensions[].name` -> the class."""

OUTPUTS: Registry[Output] = Registry(
    "output format",
    "stac_manager.outputs",
    {"parquet": "stac_manager.output.parquet:PARQUET"},
)
"""`output.format[]` -> the output."""

CHECKS: Registry[Check] = Registry(
    "check",
    "stac_manager.checks",
    {
        "ledger_balances": "stac_manager.pipeline.checks:LEDGER_BALANCES",
        "complete": "stac_manager.pipeline.checks:COMPLETE",
        "deletions": "stac_manager.pipeline.checks:DELETIONS",
        "unique_ids": "stac_manager.pipeline.checks:UNIQUE_IDS",
        "schema_valid": "stac_manager.pipeline.checks:SCHEMA_VALID",
        "round_trip": "stac_manager.pipeline.checks:ROUND_TRIP",
    },
)
"""The name of a check -> the check; each check names its stages."""
