"""How the tests of workflow files write one down and read it back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stac_manager.config import Workflow, load_workflow
from stac_manager.errors import ConfigError, Problem

MINIMAL = """\
workflow: {name: alps}
source:
  catalog_url: https://example.org/stac
  collections: [sentinel-2-l2a]
partitions: {start: "2024-01-01"}
"""

Load = Callable[..., Workflow]
Refused = Callable[..., tuple[Problem, ...]]


def minimal(**sections: Any) -> dict[str, Any]:
    """The smallest workflow, with sections replaced; None takes one away."""
    data = {**yaml.safe_load(MINIMAL), **copy.deepcopy(sections)}
    return {name: section for name, section in data.items() if section is not None}


def with_source(**keys: Any) -> dict[str, Any]:
    data = minimal()
    data["source"].update(copy.deepcopy(keys))
    return data


def as_text(content: str | Mapping[str, Any]) -> str:
    return content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(content: str | Mapping[str, Any], **environ: str) -> Workflow:
        path = tmp_path / "flow.yaml"
        path.write_text(as_text(content), encoding="utf-8")
        return load_workflow(path, environ=environ)

    return load


@pytest.fixture
def refused(load: Load) -> Refused:
    """Read a workflow that must be refused; its problems."""

    def refused(content: str | Mapping[str, Any], **environ: str) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as caught:
            load(content, **environ)
        return caught.value.problems

    return refused


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]
