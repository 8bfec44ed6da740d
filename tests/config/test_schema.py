from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from stac_manager.config.schema import SCHEMA_FILE, workflow_json_schema
from tests.config.conftest import minimal, with_source
from tests.config.test_model import AUTHS, SOURCES


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(workflow_json_schema())


def test_schema_file_is_current() -> None:
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == workflow_json_schema(), (
        "run python -m stac_manager.config.schema"
    )


def test_schema_is_a_json_schema() -> None:
    schema = workflow_json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"]
    assert schema["title"] == "stac-manager workflow"


def test_every_key_is_described() -> None:
    schema = workflow_json_schema()
    for name, section in [("", schema), *schema["$defs"].items()]:
        assert section["description"]
        for key, value in section.get("properties", {}).items():
            assert value.get("description") or "$ref" in value, f"{name}.{key} has no description"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml")), ids=lambda p: p.stem)
def test_examples_fulfil_the_schema(validator: Draft202012Validator, path: Path) -> None:
    assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []


@pytest.mark.parametrize(
    "document",
    [
        minimal(),
        *[minimal(source=source) for source in SOURCES],
        *[with_source(auth=auth) for auth in AUTHS],
        minimal(processing={"concurrency": "${N}", "rate_limit": "${RATE:-5}"}, validation={"offline": "${O}"}),
        minimal(logging={"level": "${LEVEL}", "file": None}, output={"format": ["${FORMAT}"]}),
        with_source(catalog_url="${API}/v1", filters={"spatial": {"bbox": ["${WEST}", 1, 2, 3]}}),
        minimal(transformation={"mapping_schema": {"id": "name"}}),
        minimal(transformation={"mapping_schema": "mappings/a.yaml"}),
    ],
)
def test_what_the_model_takes_fulfils_the_schema(validator: Draft202012Validator, document: Any) -> None:
    assert list(validator.iter_errors(document)) == []


@pytest.mark.parametrize(
    "document",
    [
        minimal(sauce={}),
        minimal(workflow={"name": "a b"}),
        minimal(processing={"concurrency": 65}),
        minimal(processing={"concurrency": "many"}),
        minimal(partitions={"by": "months"}),
        minimal(partitions={"start": "January"}),
        with_source(collections=[]),
        with_source(type="stac-api"),
        with_source(catalog_url="ftp://x"),
        with_source(auth={"type": "bearer"}),
    ],
)
def test_what_the_model_refuses_is_marked_in_an_editor(validator: Draft202012Validator, document: Any) -> None:
    assert not validator.is_valid(document)
