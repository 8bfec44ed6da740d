"""Load workflow files, and report all problems of a file at once, sorted by line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from stac_manager.config.document import Document, read_document
from stac_manager.config.explain import problems_of
from stac_manager.config.fields import Where, dagster_name
from stac_manager.config.model import Workflow
from stac_manager.config.support import unsupported_in
from stac_manager.errors import ConfigError, NotSupportedError, Problem

__all__ = ["load_workflow", "load_workflows"]


@dataclass
class _Reading:
    document: Document
    workflow: Workflow | None = None
    wrong: list[Problem] = field(default_factory=list)
    unsupported: list[Problem] = field(default_factory=list)


def load_workflow(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Workflow:
    """Read one workflow file. Variables come from `environ`, by default the process's environment.

    Raises:
        NotSupportedError: the file is valid, but uses something that this version does not support.
        ConfigError: the file cannot be used; the error has every problem, including unsupported sections.
    """
    reading = _read(path, os.environ if environ is None else environ)
    _refuse(reading.wrong, reading.unsupported)
    assert reading.workflow is not None, "a file without problems has a workflow"
    return reading.workflow


def load_workflows(folder: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> list[Workflow]:
    """Read every `.yaml` and `.yml` file of a folder (not of its subfolders), in the order of their names.

    Files whose names start with a dot are skipped.

    Raises:
        NotSupportedError: the files are valid, but use something that this version does not support.
        ConfigError: the folder does not exist, a file cannot be used, or two workflows conflict.
    """
    readings, wrong = _read_all(os.fspath(folder), os.environ if environ is None else environ)
    for reading in readings:
        wrong += reading.wrong
    wrong += _collisions(readings)
    _refuse(wrong, [problem for reading in readings for problem in reading.unsupported])
    return [reading.workflow for reading in readings if reading.workflow]


def _refuse(wrong: Sequence[Problem], unsupported: Sequence[Problem]) -> None:
    problems = sorted([*wrong, *unsupported], key=lambda problem: (problem.file, problem.line or 0, problem.path))
    if wrong:
        raise ConfigError(problems)
    if unsupported:
        raise NotSupportedError(problems)


def _read(path: str | os.PathLike[str], environ: Mapping[str, str]) -> _Reading:
    document = read_document(path, environ)
    reading = _Reading(document, wrong=document.problems)
    try:
        reading.workflow = Workflow.model_validate(document.data)
    except ValidationError as error:
        reading.wrong = [*document.problems, *problems_of(error, document)]
    reading.unsupported = [
        document.problem(where, what) for where, what in unsupported_in(document.data) if where not in document.faulty
    ]
    return reading


def _read_all(folder: str, environ: Mapping[str, str]) -> tuple[list[_Reading], list[Problem]]:
    readings: list[_Reading] = []
    wrong: list[Problem] = []
    try:
        names = sorted(path.name for path in Path(folder).iterdir() if path.suffix in (".yaml", ".yml"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a name that a folder can have"
        raise ConfigError(
            [Problem(folder, None, "", f"no folder to read ({reason})", "a folder of workflow files")]
        ) from None
    for name in names:
        if name.startswith("."):
            continue
        try:
            readings.append(_read(Path(folder, name), environ))
        except ConfigError as error:
            wrong += error.problems
    return readings, wrong


def _collisions(readings: Sequence[_Reading]) -> Iterator[Problem]:
    names: dict[str, str] = {}
    homes: dict[str, str] = {}
    jobs: dict[str, str] = {}
    for reading in readings:
        if reading.workflow is None:
            continue
        document, file = reading.document, reading.document.file
        other = names.setdefault(dagster_name(reading.workflow.workflow.name), file)
        if other != file:
            where: Where = ("workflow", "name")
            yield document.problem(where, f"a name unlike that in {other} (`-` and `_` count as the same)")
            continue
        other = homes.setdefault(_root(reading.workflow.output.path), file)
        if other != file:
            yield document.problem(("output", "path"), f"a place of its own; {other} publishes its catalog there")
        yield from _job_collisions(reading, jobs)


def _job_collisions(reading: _Reading, jobs: dict[str, str]) -> Iterator[Problem]:
    """Two workflows with the same job names: `a` with `b_c` and `a_b` with `c` would share them."""
    assert reading.workflow is not None
    for index, collection in enumerate(reading.workflow.collections):
        job = dagster_name(f"{reading.workflow.workflow.name}_{collection}")
        other = jobs.setdefault(job, reading.document.file)
        if other != reading.document.file:
            where: Where = ("source", "collections", index)
            expected = f"an id that makes another job name than {job}, which {other} has"
            yield reading.document.problem(where, expected)


def _root(path: str) -> str:
    if "://" in path and not path.startswith("file://"):
        return path.rstrip("/")
    return os.path.normpath(Path(path.removeprefix("file://")).absolute())
