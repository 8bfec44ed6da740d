"""Whatever a file holds: a workflow, or a ConfigError whose problems a person can read."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stac_manager.config import Workflow, load_workflow
from stac_manager.errors import ConfigError, Problem
from tests.config.conftest import MINIMAL
from tests.config.test_model import AUTHS, SOURCES

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FULL: dict[str, Any] = {
    **yaml.safe_load(MINIMAL),
    "transformation": {"mapping_schema": "a.yaml"},
    "extensions": [{"name": "a", "config": {"b": 1}}],
    "validation": {"level": "strict", "schemas": ["a"], "schema_dirs": ["b"], "offline": True},
    "output": {"path": "./data", "format": ["parquet"], "organize_by": "collection"},
    "sync": {"every_minutes": 15, "latest_windows": 2},
    "processing": {"concurrency": 5, "rate_limit": 10, "retry_max_attempts": 3, "timeout_seconds": 60, "page_size": 9},
    "logging": {"level": "INFO", "file": "a.log"},
}
FILTERS = {
    "temporal": {"start_date": "2024-01-01", "end_date": "2025-01-01"},
    "spatial": {"bbox": [1, 2, 3, 4], "intersects": {"type": "Point", "coordinates": [1, 2]}},
    "cql2": {"op": "=", "args": [1, 2]},
    "query": {"a": {"eq": 1}},
}
SOURCE_CHOICES = [
    *SOURCES,
    {**FULL["source"], "filters": FILTERS},
    *[{**FULL["source"], "auth": auth} for auth in AUTHS],
]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=8),
    st.sampled_from(
        ["${A}", "${B}", "${", "$$", "*", "stac_api", "2024-01-01", "https://x.org", "s3://", "9999-12-31"]
    ),
)
KEYS = st.one_of(
    st.text(max_size=5), st.integers(), st.sampled_from(["name", "type", "collections", "start", "stac_api"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


def read(content: bytes) -> Workflow | tuple[Problem, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "flow.yaml")
        path.write_bytes(content)
        try:
            return load_workflow(path, environ={"A": "hunter2\n\0"})
        except ConfigError as error:
            return error.problems


def check(content: bytes) -> None:
    answer = read(content)
    if isinstance(answer, Workflow):
        assert answer.scheme().first
        assert answer.section_hash(*Workflow.model_fields)
        return
    assert answer
    for problem in answer:
        assert problem.found
        assert problem.expected
        assert len(str(problem).splitlines()) == 1
        assert "hunter2" not in str(problem)
        assert "another value (" not in problem.expected, "a kind of error without words of its own"


@UNHURRIED
@given(st.one_of(st.text().map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary()))
def test_any_bytes(content: bytes) -> None:
    check(content)


@UNHURRIED
@given(st.text(alphabet=" \n\t:-?[]{}&*!|>'\"%@`#,ab10.~<=\\ux${}", max_size=60))
def test_any_yaml_punctuation(text: str) -> None:
    check(text.encode())


@UNHURRIED
@given(VALUES)
def test_any_yaml(value: Any) -> None:
    check(yaml.dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *[where for step, member in inner for where in _places(member, (*above, step))]]


@st.composite
def damaged_workflows(draw: st.DrawFn) -> Any:
    data = copy.deepcopy({**FULL, "source": draw(st.sampled_from(SOURCE_CHOICES))})
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from([where for where in _places(data) if where]))
        place = data
        for step in above:
            place = place[step]
        damage = draw(st.sampled_from(["replace", "remove", "add"]))
        if damage == "replace":
            place[last] = draw(VALUES)
        elif damage == "remove":
            del place[last]
        elif isinstance(place, dict):
            place[draw(KEYS)] = draw(VALUES)
    return data


@settings(UNHURRIED, max_examples=300)
@given(damaged_workflows())
def test_any_damaged_workflow(data: Any) -> None:
    check(yaml.dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))


@UNHURRIED
@given(st.text(max_size=40), st.integers(0, len(MINIMAL)))
def test_any_text_within_a_workflow(text: str, position: int) -> None:
    check((MINIMAL[:position] + text + MINIMAL[position:]).encode("utf-8", "surrogatepass"))
