"""The verdict is stac-validator's: compared with a plain run of it, as anyone would call it, on real objects.

The sample holds every object that is not valid and some of those that are; docs/validation.md has the numbers for all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from stac_validator.utilities import set_schema_cache_size
from stac_validator.validate import StacValidate

from stac_manager.validate import ItemVerdict, SchemaStore, Validator, Verdict
from stac_manager.validate.reference_validator import ReferenceValidator
from stac_manager.validate.schema_refs import SchemaSet, collect_schema_set
from stac_manager.validate.schema_uris import core_schema, kind_of

Item = dict[str, Any]

BY_ADDRESS = frozenset({"1.0.0-rc.2", "1.0.0-rc.3", "1.0.0-rc.4", "1.0.0", "1.1.0-beta.1", "1.1.0"})
"""Versions whose schemas stac-validator finds at the addresses that the folder has."""


@pytest.fixture(scope="module")
def schema_map(schema_dir: Path) -> Iterator[dict[str, str]]:
    """The folder as stac-validator's option `schema_map` takes it."""
    set_schema_cache_size(1024)
    paths = [path for path in schema_dir.rglob("*") if path.suffix in ("", ".json") and path.is_file()]
    yield {
        f"{scheme}://{path.relative_to(schema_dir)}{end}": str(path)
        for path in paths
        for scheme in ("http", "https")
        for end in ("", "#")
    }
    set_schema_cache_size(16)


def plain_run(item: Item, schema_map: dict[str, str], **options: Any) -> StacValidate:
    run = StacValidate(**options)
    run.schema_map = schema_map  # given to the constructor, it is gone through for every object
    run.validate_dict(copy.deepcopy(item))
    return run


def on_disk(schemas: SchemaSet, folder: Path) -> dict[str, str]:
    """A schema and what it refers to as local files, as `schema_map` takes them."""
    local: dict[str, str] = {}
    for uri, document in {**schemas.python_documents, schemas.address: schemas.document}.items():
        path = folder / f"{hash((schemas.address, uri)):x}.json"
        path.write_bytes(orjson.dumps(document))
        local[uri] = str(path)
    return local


@pytest.fixture(scope="module")
def judged(corpus_dir: Path, corpus_items: list[Item], validator: Validator) -> list[tuple[Item, ItemVerdict]]:
    files = [*sorted(corpus_dir.glob("*/collections/*.json")), *sorted(corpus_dir.glob("*/catalogs/*.json"))]
    objects = [*corpus_items, *(orjson.loads(path.read_bytes()) for path in files)]
    return [(item, validator.check(item)) for item in objects]


def test_every_object_of_the_corpus_gets_the_verdict_it_is_known_to_have(
    judged: list[tuple[Item, ItemVerdict]], corpus_dir: Path
) -> None:
    known = [orjson.loads(line) for line in (corpus_dir / "validation.ndjson").read_bytes().splitlines()]
    expected = {
        (entry["collection"], entry["id"]): entry["verdict_without_formats"]
        for entry in known
        if entry["kind"] == "item" and not entry["variant"]
    }
    meaning = {"full": Verdict.VALID, "core ok, an extension has no schema": Verdict.UNCHECKED}
    items = [(item, verdict) for item, verdict in judged if item.get("type") == "Feature"]
    assert len(items) > 2000
    for item, verdict in items:
        assert verdict.verdict is meaning.get(expected[item.get("collection"), item["id"]], Verdict.INVALID)


def test_a_plain_run_of_the_authority_gives_the_same_verdict_and_message(
    judged: list[tuple[Item, ItemVerdict]], schema_map: dict[str, str]
) -> None:
    known = [
        (item, verdict)
        for item, verdict in judged
        if item["stac_version"] in BY_ADDRESS
        and "type" in item
        and not any(error.message.startswith("unavailable") for error in verdict.errors)
    ]
    refused = [pair for pair in known if pair[1].verdict is Verdict.INVALID]
    passed = [pair for pair in known if pair[1].verdict is Verdict.VALID][::10]
    assert len(refused) > 300
    assert len(passed) > 250
    for item, verdict in refused + passed:
        run = plain_run(item, schema_map)
        assert run.valid == (verdict.verdict is Verdict.VALID), item["id"]
        if verdict.errors:
            theirs = run.message[-1]["error_message"]
            ours = verdict.errors[0].message
            assert theirs.startswith(ours[:200]) or "under any of the given schemas" in theirs, item["id"]


def test_the_kept_references_change_no_verdict_and_no_message(
    judged: list[tuple[Item, ItemVerdict]], store: SchemaStore, tmp_path: Path
) -> None:
    """Also for versions before 1.0.0-beta.2, where a plain run would ask a server that is not there."""
    seen: set[tuple[str, str]] = set()
    for item, verdict in judged:
        for error in verdict.errors:
            key = (error.schema, error.message[:40])
            if key in seen or not error.schema or error.message.startswith("unavailable"):
                continue
            seen.add(key)
            schemas = collect_schema_set(store, error.schema)
            run = plain_run(item, on_disk(schemas, tmp_path), custom=error.schema)
            stale = ReferenceValidator(schemas).check(item)
            assert not run.valid
            assert stale is not None
            assert stale.failure == error
    assert len({schema for schema, _ in seen}) > 20


def test_what_the_fast_engine_passes_the_authority_passes(corpus_items: list[Item], store: SchemaStore) -> None:
    """Old versions, whose relative references each engine resolves in its own way."""
    old = [item for item in corpus_items if item["stac_version"] not in BY_ADDRESS]
    validator = Validator(store)
    valid = [item for item in old if validator.check(item).verdict is Verdict.VALID][::4]
    assert len({item["stac_version"] for item in valid}) > 2
    for item in valid:
        kind = kind_of(item, item["stac_version"])
        assert kind is not None
        assert (
            ReferenceValidator(collect_schema_set(store, core_schema(item["stac_version"], kind))).check(item) is None
        )
