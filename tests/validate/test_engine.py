from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stac_validator.validate import StacValidate

from stac_manager.errors import UsageError
from stac_manager.validate import (
    ItemVerdict,
    SchemaFailure,
    SchemaStore,
    ValidateModule,
    Validator,
    Verdict,
)
from tests.validate.conftest import SchemaServer

Item = dict[str, Any]

CORE = "https://schemas.stacspec.org/v1.0.0/item-spec/json-schema/item.json"
UNREACHABLE = "https://stac-extensions.github.io/does-not-exist/v1.0.0/schema.json"


def eo_of(item: Item) -> str:
    return next(name for name in item["stac_extensions"] if "/eo/" in name)


def test_a_valid_item_passes_with_its_id_and_collection(validator: Validator, item: Item) -> None:
    assert validator.check(item) == ItemVerdict(
        item_id=item["id"],
        collection="sentinel-2-l2a",
        verdict=Verdict.VALID,
        errors=(),
        accepted=True,
        lenient=False,
    )


def test_the_message_and_the_place_are_those_of_the_authority(
    validator: Validator, item: Item, store: SchemaStore
) -> None:
    item["properties"]["eo:cloud_cover"] = "low"
    eo = eo_of(item)
    verdict = validator.check(item)
    assert verdict.errors == (SchemaFailure(eo, "properties.eo:cloud_cover", "'low' is not of type 'number'"),)
    assert (verdict.verdict, verdict.accepted, verdict.lenient) == ("invalid", False, False)
    plain = StacValidate(extensions=True, schema_map={eo: str(store.locate(eo))})
    plain.validate_dict({**item, "stac_extensions": [eo]})
    assert plain.message[0]["error_message"].startswith("'low' is not of type 'number'. Error is in properties")


def test_a_missing_collection_link_is_told_in_the_words_of_the_authority(validator: Validator, item: Item) -> None:
    item["links"] = []
    (error,) = validator.check(item).errors
    assert (error.schema, error.path) == (CORE, "collection")
    assert error.message.startswith("Item has a 'collection' field but is missing a link with rel='collection'.")


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        (lambda item: item["properties"].pop("datetime"), "properties", "'datetime' is a required property"),
        (lambda item: item.pop("links"), "", "'links' is a required property"),
        (lambda item: item["links"][0].pop("href"), "links[0]", "'href' is a required property"),
        (lambda item: item["assets"].update({"a.b c": {}}), 'assets["a.b c"]', "'href' is a required property"),
    ],
)
def test_a_broken_item_is_refused_by_the_core_schema(
    change: Callable[[Item], Any], path: str, message: str, validator: Validator, item: Item
) -> None:
    item["stac_extensions"] = []
    change(item)
    verdict = validator.check(item)
    assert verdict.errors == (SchemaFailure(CORE, path, message),)
    assert (verdict.verdict, verdict.accepted) == (Verdict.INVALID, False)


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"stac_version": None}, "stac_version", "missing or empty"),
        ({"stac_version": ["1.0.0"]}, "stac_version", "missing or empty"),
        ({"stac_version": "one"}, "stac_version", "does not match expected format"),
        ({"type": None}, "type", "`type` is None"),
        ({"type": {}}, "type", "`type` is {}"),
        ({"type": "feature"}, "type", "`type` is 'feature'"),
        ({"stac_extensions": "eo"}, "stac_extensions", "not a list of strings"),
        ({"stac_extensions": {"eo": 1}}, "stac_extensions", "not a list of strings"),
        ({"stac_extensions": [1]}, "stac_extensions", "not a list of strings"),
        ({"stac_extensions": [["eo"]]}, "stac_extensions", "not a list of strings"),
        ({"stac_extensions": None}, "stac_extensions", "not a list of strings"),
        ({"id": "\ud800"}, "", "cannot be written as JSON"),
        ({1: 2}, "", "cannot be written as JSON"),
        ({"big": 2**70}, "", "cannot be written as JSON"),
    ],
)
@pytest.mark.parametrize("level", ["strict", "lenient"])
def test_an_object_that_does_not_say_what_it_is_is_invalid(
    members: Item, path: str, message: str, level: Any, store: SchemaStore, item: Item
) -> None:
    verdict = Validator(store, level=level).check(item | members)
    (error,) = verdict.errors
    assert (error.schema, error.path) == ("", path)
    assert message in error.message
    assert (verdict.verdict, verdict.accepted, verdict.lenient) == (Verdict.INVALID, False, False)


@pytest.mark.parametrize("value", [None, 1, "item", [], {}, {"type": "Feature"}, float("nan")])
def test_what_is_no_stac_object_is_invalid(value: Any, validator: Validator) -> None:
    assert validator.check(value).verdict is Verdict.INVALID


def test_a_missing_type_is_named(validator: Validator, item: Item) -> None:
    del item["type"]
    (error,) = validator.check(item).errors
    assert error.message == "`type` is missing; STAC has Feature (an item), Collection and Catalog"


def test_an_unreachable_schema_makes_an_item_unchecked_and_not_valid(validator: Validator, item: Item) -> None:
    item["stac_extensions"].append(UNREACHABLE)
    verdict = validator.check(item)
    assert (verdict.verdict, verdict.accepted, verdict.lenient) == (Verdict.UNCHECKED, True, False)
    (error,) = verdict.errors
    assert (error.schema, error.path) == (UNREACHABLE, "")
    assert error.message.startswith("unavailable: it is in none of the schema folders")


def test_a_refusal_outweighs_an_unreachable_schema_and_both_are_named(validator: Validator, item: Item) -> None:
    item["stac_extensions"].append(UNREACHABLE)
    item["properties"]["eo:cloud_cover"] = "low"
    verdict = validator.check(item)
    assert (verdict.verdict, verdict.accepted) == (Verdict.INVALID, False)
    assert [error.schema for error in verdict.errors] == [eo_of(item), UNREACHABLE]
    assert verdict.summary.startswith("properties.eo:cloud_cover: 'low' is not of type 'number'; unavailable: ")


def test_lenient_accepts_what_only_an_extension_refuses(store: SchemaStore, item: Item) -> None:
    lenient = Validator(store, level="lenient")
    item["properties"]["eo:cloud_cover"] = "low"
    verdict = lenient.check(item)
    assert (verdict.verdict, verdict.accepted, verdict.lenient) == (Verdict.INVALID, True, True)
    item["stac_extensions"].append(UNREACHABLE)
    assert lenient.check(item).lenient
    del item["properties"]["datetime"]
    verdict = lenient.check(item)
    assert (verdict.verdict, verdict.accepted, verdict.lenient) == (Verdict.INVALID, False, False)


def test_lenient_does_not_accept_a_refusal_while_the_core_schema_is_unavailable(
    schema_dir: Path, tmp_path: Path, item: Item
) -> None:
    lenient = Validator(SchemaStore([schema_dir], offline=True, cache_dir=tmp_path), level="lenient")
    item |= {"stac_version": "7.0.0"}
    assert lenient.check(item).verdict is Verdict.UNCHECKED
    item["properties"]["eo:cloud_cover"] = "low"
    assert not lenient.check(item).accepted


def test_there_is_no_third_level(store: SchemaStore) -> None:
    with pytest.raises(UsageError, match="strict, lenient"):
        Validator(store, level="loose")  # type: ignore[arg-type]


def test_an_item_with_core_only_needs_no_schema_folder(tmp_path: Path, item: Item) -> None:
    bare = Validator(SchemaStore(offline=True, cache_dir=tmp_path))
    for version in ("1.0.0", "1.1.0"):
        assert bare.check(item | {"stac_version": version, "stac_extensions": []}).verdict is Verdict.VALID
    assert bare.check(item).verdict is Verdict.UNCHECKED


def test_what_an_extension_refers_to_must_be_there_too(schema_dir: Path, tmp_path: Path, item: Item) -> None:
    address = "https://stac-extensions.github.io/projection/v1.1.0/schema.json"
    copied = tmp_path / "schemas" / address.removeprefix("https://")
    copied.parent.mkdir(parents=True)
    copied.write_bytes((schema_dir / address.removeprefix("https://")).read_bytes())
    store = SchemaStore([tmp_path / "schemas"], offline=True, cache_dir=tmp_path)
    verdict = Validator(store).check(item | {"stac_extensions": [address]})
    assert verdict.verdict is Verdict.UNCHECKED
    assert verdict.errors[0].schema == address
    assert verdict.errors[0].message.startswith("unavailable: it refers to https://proj.org/schemas/")


def test_short_names_mean_the_extensions_of_their_version(corpus_items: list[Item], validator: Validator) -> None:
    old = [item for item in corpus_items if item["stac_version"] == "1.0.0-beta.2" and "eo" in item["stac_extensions"]]
    assert len(old) > 50
    broken = copy.deepcopy(old[0])
    broken["properties"]["eo:cloud_cover"] = "low"
    broken["links"] = None
    schemas = [error.schema for error in validator.check(broken).errors]
    assert schemas[0] == "https://schemas.stacspec.org/v1.0.0-beta.2/item-spec/json-schema/item.json"
    assert "https://schemas.stacspec.org/v1.0.0-beta.2/extensions/eo/json-schema/schema.json" in schemas


def test_a_short_name_in_stac_1_0_is_unchecked(validator: Validator, item: Item) -> None:
    item["stac_extensions"] = ["eo", "../../../etc/passwd.json"]
    verdict = validator.check(item)
    assert verdict.verdict is Verdict.UNCHECKED
    reason = "unavailable: it is not an http or https URL"
    assert verdict.errors == (
        SchemaFailure("eo", "", reason),
        SchemaFailure("../../../etc/passwd.json", "", reason),
    )


def test_collections_and_catalogs_are_checked_too(validator: Validator, corpus_dir: Path) -> None:
    collection = orjson.loads((corpus_dir / "sentinel2/collections/sentinel2-l2a-example.json").read_bytes())
    assert validator.check(collection).verdict is Verdict.VALID
    del collection["extent"]
    (error,) = validator.check(collection).errors
    assert error.message == "'extent' is a required property"
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "a", "description": "b", "links": []}
    assert validator.check(catalog).verdict is Verdict.VALID
    assert validator.check(catalog | {"id": 1}).verdict is Verdict.INVALID


def test_objects_kept_as_bad_ones_are_refused(validator: Validator, corpus_dir: Path) -> None:
    lines = [
        line for path in sorted((corpus_dir / "invalid").glob("*.ndjson")) for line in path.read_bytes().split(b"\n")
    ]
    bad = [entry for entry in map(orjson.loads, filter(None, lines)) if entry["level"] == "schema"]
    assert len(bad) > 8
    verdicts = [validator.check(entry["object"]) for entry in bad]
    assert {verdict.verdict for verdict in verdicts} == {Verdict.INVALID}
    assert not any(verdict.accepted for verdict in verdicts)
    assert all(verdict.errors for verdict in verdicts)


def test_an_extra_schema_counts_like_an_extension(store: SchemaStore, item: Item, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"properties": {"properties": {"required": ["our:mark"]}}}')
    strict = Validator(store, extra_schemas=[str(own)])
    failure = SchemaFailure(str(own), "properties", "'our:mark' is a required property")
    assert strict.check(item).errors == (failure,)
    assert Validator(store, extra_schemas=[str(own)], level="lenient").check(item).lenient
    item["properties"]["our:mark"] = 1
    assert strict.check(item).verdict is Verdict.VALID


def test_a_schema_that_jsonschema_rs_cannot_compile_is_left_to_the_authority(
    store: SchemaStore, item: Item, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.json"
    odd.write_text('{"properties": {"id": {"maxLength": 3}}, "definitions": {"never": {"type": 7, "if": 1}}}')
    validator = Validator(store, extra_schemas=[str(odd)])
    (error,) = validator.check(item).errors
    assert (error.path, error.message) == ("id", f"'{item['id']}' is too long")
    assert validator.check(item | {"id": "abc"}).verdict is Verdict.VALID


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/definitions/nowhere"},
        {"properties": {"id": {"pattern": "("}}},
        {"type": "thing"},
        {"$schema": "https://example.com/my-own-dialect", "properties": 3},
        {"properties": {"links": {"items": [{"type": "object"}]}}},
    ],
)
def test_a_schema_that_cannot_be_used_leaves_an_item_unchecked(
    schema: Item, store: SchemaStore, item: Item, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(orjson.dumps(schema))
    verdict = Validator(store, extra_schemas=[str(broken)]).check(item)
    assert verdict.verdict is Verdict.UNCHECKED
    assert verdict.errors[0].message.startswith("unavailable: it cannot be used: ")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("http://[broken/schema.json", "it has a reference that is no URL"),
        ("0.json", "it refers to more than 200 other schemas"),
        ("missing.json", "it refers to https://example.com/missing.json, which is unavailable"),
    ],
)
def test_references_that_lead_nowhere_leave_an_item_unchecked(
    reference: str, reason: str, item: Item, tmp_path: Path
) -> None:
    folder = tmp_path / "example.com"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.json").write_text(f'{{"$ref": "{number + 1}.json"}}')
    (folder / "schema.json").write_bytes(orjson.dumps({"$ref": reference}))
    item["stac_extensions"] = ["https://example.com/schema.json"]
    verdict = Validator(SchemaStore([tmp_path], offline=True, cache_dir=tmp_path)).check(item)
    assert verdict.verdict is Verdict.UNCHECKED
    assert verdict.errors[0].message.startswith(f"unavailable: {reason}")


def test_a_schema_from_the_network_is_used_once_fetched(server: SchemaServer, online: SchemaStore, item: Item) -> None:
    server.serve("/part.json", b'{"$schema": "http://json-schema.org/draft-07/schema#", "required": ["our:mark"]}')
    address = server.serve("/own.json", b'{"properties": {"properties": {"$ref": "part.json"}}}')
    item["stac_extensions"] = [f"{address}#"]
    validator = Validator(online)
    for _ in range(3):
        (error,) = validator.check(item).errors
    assert (error.schema, error.path) == (address, "properties")
    assert sorted(server.asked) == ["/own.json", "/part.json"]


@pytest.mark.usefixtures("socket_disabled")
def test_neither_engine_asks_the_network(validator: Validator, item: Item) -> None:
    item["stac_extensions"] += ["https://stac-extensions.github.io/authentication/v1.1.0/schema.json", UNREACHABLE]
    item["properties"] = {}
    verdict = validator.check(item)
    assert verdict.verdict is Verdict.INVALID
    assert len(verdict.errors) > 2


def test_the_authority_is_silent(
    store: SchemaStore, item: Item, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    item["properties"] = {}
    assert Validator(store).check(item).verdict is Verdict.INVALID
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if "stac_validator" in record.name] == []


def test_an_item_is_never_changed(validator: Validator, item: Item) -> None:
    item["properties"]["eo:cloud_cover"] = "low"
    item["stac_extensions"].append("proj")
    before = copy.deepcopy(item)
    validator.check(item)
    assert item == before


@pytest.mark.parametrize("depth", [100, 240, 500, 100_000])
def test_deep_nesting_is_validated_or_rejected_but_never_crashes(depth: int, validator: Validator, item: Item) -> None:
    item["properties"]["eo:bands"] = nested(depth)
    verdict = validator.check(item)
    assert verdict.verdict is Verdict.INVALID
    assert all(len(error.message) < 1000 for error in verdict.errors)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_schema_without_end_refuses_what_is_nested_too_deeply(store: SchemaStore, item: Item, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    reference = '{"$ref": "#/$defs/x"}'
    own.write_text(f'{{"$defs": {{"x": {{"$comment": 1, "items": {reference}}}}}, "properties": {{"n": {reference}}}}}')
    verdict = Validator(store, extra_schemas=[str(own)]).check(item | {"n": nested(240)})
    assert verdict.errors == (SchemaFailure(str(own), "", "the object is nested too deeply"),)
    assert verdict.verdict is Verdict.INVALID


def test_a_huge_wrong_value_does_not_make_a_huge_message(validator: Validator, item: Item) -> None:
    item["assets"] = [{"href": "x" * 1000}] * 1000
    (error, *_) = validator.check(item).errors
    assert error.path == "assets"
    assert error.message.endswith("is not of type 'object'")
    assert len(error.message) < 600


def test_odd_links_do_not_break_the_wording(validator: Validator, item: Item) -> None:
    item["links"] = ["not a link"]
    assert validator.check(item).verdict is Verdict.INVALID


def test_the_module_streams_items_with_their_verdicts(store: SchemaStore, item: Item) -> None:
    taken = []

    def items() -> Any:
        for number in range(3):
            taken.append(number)
            yield item | {"id": f"item-{number}"}

    stream = ValidateModule(store, level="strict").validate(items())
    first, verdict = next(stream)
    assert (first["id"], verdict.item_id, taken) == ("item-0", "item-0", [0])
    assert [verdict.verdict for _, verdict in stream] == [Verdict.VALID, Verdict.VALID]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += [(value, key), *places(value[key])]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_item_gets_a_verdict(data: st.DataObject, validator: Validator, item: Item) -> None:
    mutant = copy.deepcopy(item)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(mutant) or [(mutant, "id")]))
        if data.draw(st.booleans()):
            container[key] = data.draw(json_values)
        else:
            del container[key]
    verdict = validator.check(mutant)
    assert bool(verdict.errors) == (verdict.verdict is not Verdict.VALID)
    assert verdict.accepted == (verdict.verdict is not Verdict.INVALID)
