"""The tree of errors in the docstring of `stac_manager.errors` is the tree of the classes."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re

import pytest

import stac_manager
from stac_manager import errors
from stac_manager.errors import StacManagerError
from stac_manager.http import HttpStatusError
from stac_manager.validate.verdicts import SchemaUnavailableError


def told() -> dict[str, tuple[str | None, int | None]]:
    """Of each error in the docstring, its parent and the exit status that stands beside it."""
    assert errors.__doc__
    found: dict[str, tuple[str | None, int | None]] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"([ │├└─]*)(\w+Error)\s+(?:exit (\d))?", line)
        if match is None:
            continue
        while path and path[-1][0] >= match.start(2):
            path.pop()
        found[match[2]] = (path[-1][1] if path else None, int(match[3]) if match[3] else None)
        path.append((match.start(2), match[2]))
    return found


def classes(kind: type[StacManagerError] = StacManagerError) -> list[type[StacManagerError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in classes(child))]


def test_the_tree_names_every_error_of_the_library_below_its_parent() -> None:
    for module in pkgutil.walk_packages(stac_manager.__path__, "stac_manager."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = [kind for kind in classes() if kind.__module__.split(".")[0] == "stac_manager"]
    tree = {kind.__name__: kind.__base__.__name__ if kind.__base__ is not Exception else None for kind in ours}
    assert tree == {name: parent for name, (parent, _) in told().items()}
    for kind in ours:
        status = told()[kind.__name__][1]
        assert status in (None, kind.exit_code), kind
        assert status is not None or kind.exit_code == StacManagerError.exit_code, kind


def test_every_error_of_the_module_is_exported() -> None:
    here = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) >= here


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("\n  first "), "first"),
        (ValueError(""), "ValueError"),
        (OSError(13, "Permission denied", "/a/file"), "Permission denied"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_another_library_is_told_in_one_line(error: Exception, line: str) -> None:
    assert errors.one_line(error) == line


def test_an_error_from_another_process_keeps_its_class_its_text_and_what_it_carries() -> None:
    problem = errors.Problem("w.yaml", 1, "a", "b", "c")
    for error in (
        errors.StorageError("no room"),
        errors.ConfigError([problem]),
        HttpStatusError("not there", 404),
        SchemaUnavailableError("not there"),
    ):
        restored = pickle.loads(pickle.dumps(error))
        assert (type(restored), str(restored), vars(restored)) == (type(error), str(error), vars(error))
