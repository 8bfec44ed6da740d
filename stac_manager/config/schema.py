"""The workflow file's JSON Schema, for editors: `python -m stac_manager.config.schema` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from stac_manager.config.model import Workflow

__all__ = ["SCHEMA_FILE", "workflow_json_schema"]

SCHEMA_FILE = Path(__file__).with_name("workflow.schema.json")
"""The file of the generated schema."""

_VARIABLE = {"$ref": "#/$defs/Variable"}
_TOLD_OUTSIDE = ("description", "default")


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def workflow_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a workflow file as a user writes it, so values may be variables."""
    generated = Workflow.model_json_schema(mode="validation", schema_generator=_Generator)
    definitions: dict[str, Any] = generated.pop("$defs")
    for section in (generated, *definitions.values()):
        section["description"] = " ".join(section["description"].split())
        for name, value in section.get("properties", {}).items():
            section["properties"][name] = value if name == "type" else _or_variable(value)
    definitions["Variable"] = {
        "description": "A text that contains a value from the environment.",
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
    }
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "urn:stac-manager:workflow",
        **generated,
        "title": "stac-manager workflow",
        "$defs": definitions,
    }


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        choices = [_or_variable(choice) for choice in schema["anyOf"] if choice.get("type") == "array"]
        choices += [choice for choice in schema["anyOf"] if choice.get("type") != "array"]
        return {**schema, "anyOf": [*choices, _VARIABLE] if any(map(_is_narrow, choices)) else choices}
    if schema.get("type") == "array" and "items" in schema:
        return {**schema, "items": _or_variable(schema["items"])}
    if not _is_narrow(schema):
        return schema
    outside = {name: schema[name] for name in _TOLD_OUTSIDE if name in schema}
    inside = {name: value for name, value in schema.items() if name not in outside}
    return {**outside, "anyOf": [inside, _VARIABLE]}


def _is_narrow(schema: dict[str, Any]) -> bool:
    """Whether a scalar must be more than a text, so that `${NAME}` would not be valid."""
    return bool(schema.get("type") in ("integer", "number", "boolean") or {"enum", "const", "pattern"} & schema.keys())


def main() -> None:
    """Write the schema file."""
    SCHEMA_FILE.write_text(json.dumps(workflow_json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
