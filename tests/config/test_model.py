from __future__ import annotations

import hashlib
import math
from datetime import UTC, date, datetime
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import stac_manager.config as config
from stac_manager.config import StacApiConfig, Workflow
from stac_manager.partitioning import PartitionScheme
from tests.config.conftest import MINIMAL, Load, Refused, minimal, only, with_source


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_minimal_workflow_has_every_default(load: Load) -> None:
    workflow = load(MINIMAL)
    assert isinstance(workflow.source, StacApiConfig)
    assert workflow.workflow.name == "alps"
    assert workflow.collections == ("sentinel-2-l2a",)
    assert workflow.source.filters.temporal.start_date is None
    assert workflow.source.filters.spatial.bbox is None
    assert (workflow.output.path, workflow.output.format, workflow.output.organize_by) == (
        "./data",
        ("parquet",),
        "collection",
    )
    assert (workflow.validation.level, workflow.validation.offline) == ("strict", False)
    assert (workflow.processing.concurrency, workflow.processing.rate_limit) == (5, None)
    assert (workflow.processing.timeout_seconds, workflow.processing.page_size) == (60, None)
    assert (workflow.sync.every_minutes, workflow.sync.latest_windows) == (15, 2)
    assert (workflow.logging.level, workflow.logging.file) == ("INFO", None)


def test_section_whose_keys_are_all_commented_out_has_its_defaults(load: Load) -> None:
    text = MINIMAL + "processing:\n  # concurrency: 9\noutput:\nvalidation: ~\n"
    assert load(text) == load(MINIMAL)


def test_workflow_cannot_be_changed(load: Load) -> None:
    workflow = load(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        workflow.output.path = "elsewhere"  # type: ignore[misc]


def test_partitions_start_where_they_say(load: Load) -> None:
    partitions = {"by": "day", "start": "2024-03-05", "end": "2024-03-07"}
    scheme = load(minimal(partitions=partitions)).scheme()
    assert scheme == PartitionScheme("day", utc(2024, 3, 5), utc(2024, 3, 7, 23, 59, 59, 999999))
    assert scheme.keys(utc(2030, 1, 1)) == ["2024-03-05", "2024-03-06", "2024-03-07"]


def test_temporal_filter_bounds_partitions_that_have_none(load: Load) -> None:
    data = with_source(filters={"temporal": {"start_date": "2024-01-15", "end_date": "2024-02-03T10:00:00+02:00"}})
    del data["partitions"]
    assert load(data).scheme() == PartitionScheme("month", utc(2024, 1, 15), utc(2024, 2, 3, 8))


def test_partitions_go_before_the_temporal_filter(load: Load) -> None:
    data = with_source(filters={"temporal": {"start_date": "2020-01-01", "end_date": "2026-01-01"}})
    data["partitions"] = {"by": "year", "start": "2021-06-01"}
    assert load(data).scheme() == PartitionScheme("year", utc(2021, 6, 1), utc(2026, 1, 1, 23, 59, 59, 999999))


@pytest.mark.parametrize(
    "written", ["2024-01-01", '"2024-01-01"', "2024-01-01T00:00:00Z", "'2024-01-01T01:00:00+01:00'"]
)
def test_start_may_be_a_date_or_a_time_quoted_or_not(load: Load, written: str) -> None:
    assert load(MINIMAL.replace('"2024-01-01"', written)).partitions.start == utc(2024, 1, 1)


@pytest.mark.parametrize(
    "written", ["2024", "2024-13-01", "2024-02-30", "24-01-01", "yesterday", "2024-01-01T10:00:00", "true"]
)
def test_start_that_is_no_time_is_refused(refused: Refused, written: str) -> None:
    problem = only(refused(MINIMAL.replace('"2024-01-01"', written)))
    assert (problem.path, problem.line) == ("partitions.start", 5)
    assert problem.expected.startswith("a date that exists, as 2024-01-31")


def test_dates_that_another_reader_made_of_a_file_are_taken() -> None:
    data = yaml.safe_load(MINIMAL.replace('"2024-01-01"', "2024-01-01"))
    assert data["partitions"]["start"] == date(2024, 1, 1)
    assert Workflow.model_validate(data).partitions.start == utc(2024, 1, 1)


def test_start_in_antiquity_is_refused(refused: Refused) -> None:
    assert only(refused(MINIMAL.replace("2024", "0999"))).expected == "a time after the year 1000"


@pytest.mark.parametrize("partitions", [None, {}, {"by": "day"}, {"start": None}])
def test_workflow_without_any_start_is_refused(refused: Refused, partitions: Any) -> None:
    problem = only(refused(minimal(partitions=partitions)))
    assert problem.path == "partitions.start"
    assert "where the first partition starts" in problem.expected


def test_missing_start_is_told_together_with_a_broken_source(refused: Refused) -> None:
    problems = refused({"workflow": {"name": "a"}, "source": {"collections": []}})
    assert {problem.path for problem in problems} == {"source.catalog_url", "source.collections", "partitions.start"}


def test_workflow_built_in_python_needs_a_start_too() -> None:
    with pytest.raises(ValidationError, match="where the first partition starts"):
        Workflow(
            workflow=config.WorkflowInfo(name="a"),
            source=StacApiConfig(catalog_url="https://x.org", collections=("a",)),
        )


@pytest.mark.parametrize(
    ("filters", "partitions", "path"),
    [
        (
            {"temporal": {"start_date": "2024-01-02", "end_date": "2024-01-01"}},
            None,
            "source.filters.temporal.end_date",
        ),
        ({}, {"start": "2024-01-02", "end": "2024-01-01"}, "partitions.end"),
        ({"temporal": {"start_date": "2024-01-02"}}, {"end": "2024-01-01"}, "partitions.end"),
        ({"temporal": {"end_date": "2024-01-01"}}, {"start": "2024-01-02"}, "partitions.start"),
    ],
)
def test_end_before_the_start_is_refused(refused: Refused, filters: Any, partitions: Any, path: str) -> None:
    data = with_source(filters=filters)
    data["partitions"] = partitions
    assert only(refused(data)).path == path


def test_one_day_is_a_period(load: Load) -> None:
    data = with_source(filters={"temporal": {"start_date": "2024-01-01", "end_date": "2024-01-01"}})
    temporal = load(data).source.filters.temporal
    assert (temporal.start_date, temporal.end_date) == (utc(2024, 1, 1), utc(2024, 1, 1, 23, 59, 59, 999999))


@pytest.mark.parametrize(
    "bbox",
    [[5.9, 45.8, 10.5, 47.9], [170, -10, -170, 10], [-180, -90, 180, 90], [0, 0, 0, 0], [5, 45, -10, 6, 46, 4000]],
)
def test_bbox_that_exists_is_taken(load: Load, bbox: list[float]) -> None:
    assert load(with_source(filters={"spatial": {"bbox": bbox}})).source.filters.spatial.bbox == tuple(bbox)


@pytest.mark.parametrize(
    ("bbox", "where", "expected"),
    [
        ([1, 2, 3], "", "4 numbers"),
        ([1, 2, 3, 4, 5], "", "4 numbers"),
        ([], "", "4 numbers"),
        ([181, 0, 5, 5], "[0]", "a longitude from -180 to 180"),
        ([0, 0, 5, 91], "[3]", "a latitude from -90 to 90"),
        ([0, 0, 0, 5, -90.5, 9], "[4]", "a latitude from -90 to 90"),
        ([0, 10, 5, 5], "[3]", "west, south, east, north"),
        ([0, 0, 9, 5, 5, 8], "[5]", "a highest elevation"),
        ([0, 0, "east", 5], "[2]", "a number"),
        ([0, 0, True, 5], "[2]", "a number"),
        ([0, 0, math.nan, 5], "[2]", "a number"),
        ("1,2,3,4", "", "a list"),
    ],
)
def test_bbox_that_cannot_be_is_refused_at_its_number(refused: Refused, bbox: Any, where: str, expected: str) -> None:
    problem = only(refused(with_source(filters={"spatial": {"bbox": bbox}})))
    assert problem.path == f"source.filters.spatial.bbox{where}"
    assert expected in problem.expected


def test_bbox_with_two_faults_tells_both(refused: Refused) -> None:
    problems = refused(with_source(filters={"spatial": {"bbox": [200, 0, 5, 95]}}))
    assert [problem.path[-3:] for problem in problems] == ["[0]", "[3]"]


def test_list_with_an_entry_twice_is_refused_at_the_second(refused: Refused) -> None:
    problem = only(refused(minimal(output={"format": ["parquet", "parquet"]})))
    assert (problem.path, problem.expected) == ("output.format[1]", "each entry once")


SQUARE = [[[0, 0], [1, 0], [1, 1], [0, 0]]]


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": SQUARE},
        {"type": "MultiPolygon", "coordinates": [SQUARE]},
        {"type": "GeometryCollection", "geometries": [{"type": "MultiPoint", "coordinates": [[1, 2, 3]]}]},
    ],
)
def test_geometry_is_taken(load: Load, geometry: Any) -> None:
    assert (
        load(with_source(filters={"spatial": {"intersects": geometry}})).source.filters.spatial.intersects == geometry
    )


@pytest.mark.parametrize(
    ("geometry", "where"),
    [
        ({"type": "Feature", "geometry": {}}, "type"),
        ({"coordinates": [1, 2]}, "type"),
        ({"type": "Point"}, "coordinates"),
        ({"type": "Point", "coordinates": [1, 95]}, "coordinates"),
        ({"type": "Point", "coordinates": ["1", "2"]}, "coordinates"),
        ({"type": "Point", "coordinates": [True, False]}, "coordinates"),
        ({"type": "Polygon", "coordinates": [[0, 0], [1, 1]]}, "coordinates[0][0]"),
        ({"type": "Polygon", "coordinates": []}, "coordinates"),
        ({"type": "GeometryCollection", "geometries": []}, "geometries"),
        ({"type": "GeometryCollection", "geometries": [{"type": "Circle"}]}, "geometries[0].type"),
    ],
)
def test_geometry_that_is_none_is_refused_where_it_breaks(refused: Refused, geometry: Any, where: str) -> None:
    problems = refused(with_source(filters={"spatial": {"intersects": geometry}}))
    assert problems[0].path == f"source.filters.spatial.intersects.{where}"


@pytest.mark.parametrize(
    ("filters", "path"),
    [
        ({"cql2": {"op": "=", "args": []}, "query": {"a": {"eq": 1}}}, "source.filters.query"),
        (
            {"spatial": {"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}},
            "source.filters.spatial.intersects",
        ),
    ],
)
def test_two_filters_of_which_one_is_meant_are_refused(refused: Refused, filters: Any, path: str) -> None:
    problem = only(refused(with_source(filters=filters)))
    assert problem.path == path
    assert "not both" in problem.expected


@pytest.mark.parametrize(
    ("filters", "paths"),
    [
        ({"cql2": {"operator": "="}}, ["cql2.args", "cql2.op"]),
        ({"cql2": "eo:cloud_cover < 20"}, ["cql2"]),
        ({"query": {}}, ["query"]),
        ({"query": {"eo:cloud_cover": 20, "platform": {}}}, ["query['eo:cloud_cover']", "query.platform"]),
    ],
)
def test_condition_of_the_wrong_shape_is_refused(refused: Refused, filters: Any, paths: list[str]) -> None:
    problems = refused(with_source(filters=filters))
    assert [problem.path for problem in problems] == [f"source.filters.{path}" for path in paths]


def test_null_inside_a_condition_is_kept(load: Load) -> None:
    cql2 = {"op": "=", "args": [{"property": "a"}, None]}
    assert load(with_source(filters={"cql2": cql2})).source.filters.cql2 == cql2


@pytest.mark.parametrize(
    ("collections", "where", "expected"),
    [
        ([], "", "a list of at least 1"),
        ("sentinel-2-l2a", "", "a list, as [a, b]"),
        (["a", "b", "a"], "[2]", "collections[0] is the same"),
        (["s-2", "s_2"], "[1]", "Dagster reads `a-b` and `a_b` as one"),
        (["s.2", "x", "s 2"], "[2]", "Dagster"),
        (["HLS", "hls"], "[1]", "upper and lower case"),
        (["A-b", "a_B"], "[1]", "Dagster"),
        (["sentinel-*"], "[0]", "discover-collections"),
        (["a", "landsat-?"], "[1]", "discover-collections"),
        (["a", " "], "[1]", "the id of a collection"),
        ([2024], "[0]", "a text, in quotes"),
    ],
)
def test_collections_that_cannot_be_told_apart_are_refused(
    refused: Refused, collections: Any, where: str, expected: str
) -> None:
    problem = only(refused(with_source(collections=collections)))
    assert problem.path == f"source.collections{where}"
    assert expected in problem.expected


@pytest.mark.parametrize("collection", ["HLSS30_2.0", "a/b", "größe", "C1996881146-POCLOUD", "../up", "a:b c", "no"])
def test_any_collection_id_of_stac_is_taken(load: Load, collection: str) -> None:
    assert load(with_source(collections=[collection])).collections == (collection,)


@pytest.mark.parametrize("name", ["earth search", "a/b", "", "größe", "a" * 64, "name\n", "../x"])
def test_name_that_dagster_does_not_take_is_refused(refused: Refused, name: str) -> None:
    assert only(refused(minimal(workflow={"name": name}))).path == "workflow.name"


@pytest.mark.parametrize("owner", ["bob", "team:", "@x.org", "a@b", ""])
def test_owner_that_dagster_does_not_take_is_refused(refused: Refused, owner: str) -> None:
    problem = only(refused(minimal(workflow={"name": "a", "owners": ["team:eo", "a.b@example.org", owner]})))
    assert problem.path == "workflow.owners[2]"


@pytest.mark.parametrize(
    "url",
    ["example.org", "ftp://example.org", "https://", "http://[::1", "https://a b.org", "https://x:99999/", "file:///x"],
)
def test_url_that_is_not_http_is_refused(refused: Refused, url: str) -> None:
    problem = only(refused(with_source(catalog_url=url)))
    assert (problem.path, problem.line) == ("source.catalog_url", 4)
    assert problem.expected == "an address that starts with http:// or https://"


@pytest.mark.parametrize("who", ["bob:hunter2", "hunter2", ":hunter2"])
def test_url_with_a_user_is_refused_and_not_shown(refused: Refused, who: str) -> None:
    problem = only(refused(with_source(catalog_url=f"https://{who}@example.org/v1?token=hunter2")))
    assert "source.auth" in problem.expected
    assert "hunter2" not in str(problem)
    assert "example.org/v1" in problem.found


@pytest.mark.parametrize("path", ["./data", "/srv/stac", "s3://bucket/prefix", "gs://b", "az://c/x", "file:///srv"])
def test_output_goes_to_folders_and_buckets(load: Load, path: str) -> None:
    assert load(minimal(output={"path": path})).output.path == path


@pytest.mark.parametrize("path", ["https://example.org", "s3://", "", "  "])
def test_output_elsewhere_is_refused(refused: Refused, path: str) -> None:
    assert only(refused(minimal(output={"path": path}))).path == "output.path"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("concurrency", 0, "a number of at least 1"),
        ("concurrency", 65, "a number of at most 64"),
        ("concurrency", 2.5, "a whole number"),
        ("concurrency", True, "a number"),
        ("concurrency", "many", "a whole number"),
        ("concurrency", [5], "a whole number"),
        ("rate_limit", 0, "a number above 0"),
        ("rate_limit", -1.5, "a number above 0"),
        ("rate_limit", "inf", "a finite number"),
        ("rate_limit", "fast", "a number"),
        ("timeout_seconds", 0, "a number above 0"),
        ("retry_max_attempts", 0, "a number of at least 1"),
        ("page_size", 0, "a number of at least 1"),
    ],
)
def test_processing_outside_its_range_is_refused(refused: Refused, key: str, value: Any, expected: str) -> None:
    problem = only(refused(minimal(processing={key: value})))
    assert (problem.path, problem.expected) == (f"processing.{key}", expected)


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("yes", True), ("off", False), ("FALSE", False)])
def test_booleans_may_be_written_as_people_write_them(load: Load, written: str, meant: bool) -> None:
    assert load(MINIMAL + f"validation: {{offline: {written}}}\n").validation.offline is meant


SOURCES: list[dict[str, Any]] = [
    {"type": "static_catalog", "catalog_url": "https://example.org/catalog.json", "collections": ["a"]},
    {"type": "local_files", "paths": ["tables/*.csv"], "format": "csv", "collections": ["a"]},
    {"type": "raster_files", "paths": ["**/*.tif"], "base_href": "s3://b/x", "collections": ["a"]},
    {
        "type": "json_api",
        "url": "https://example.org/records",
        "records": "data.results",
        "parameters": {"sort": "id"},
        "pagination": {"style": "page", "parameter": "page", "size_parameter": "size"},
        "collections": ["a"],
        "auth": {"type": "api_key", "key": "k", "send_as": "query", "name": "key"},
    },
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["type"])
def test_every_type_of_source_is_in_the_model(source: dict[str, Any]) -> None:
    workflow = Workflow.model_validate(minimal(source=source))
    assert workflow.source.type == source["type"]
    assert workflow.source.address in (source.get("catalog_url"), source.get("url"), *source.get("paths", []))
    assert workflow.collections == ("a",)


AUTHS: list[dict[str, Any]] = [
    {"type": "bearer", "token": "hunter2"},
    {"type": "basic", "username": "bob", "password": "hunter2"},
    {"type": "api_key", "key": "hunter2"},
    {
        "type": "oauth2_client_credentials",
        "token_url": "https://id.example.org/token",
        "client_id": "me",
        "client_secret": "hunter2",
        "scope": "read",
    },
]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: auth["type"])
def test_secrets_show_neither_in_text_nor_in_json(auth: dict[str, Any]) -> None:
    workflow = Workflow.model_validate(with_source(auth=auth))
    assert "hunter2" not in f"{workflow!r} {workflow} {workflow.model_dump_json()}"
    assert isinstance(workflow.source, StacApiConfig)
    assert any(
        value.get_secret_value() == "hunter2"
        for _, value in workflow.source.auth or ()
        if hasattr(value, "get_secret_value")
    )


class TestSectionHash:
    def test_is_16_hex_digits_and_stable(self, load: Load) -> None:
        first, again = load(MINIMAL).section_hash("source", "output"), load(MINIMAL).section_hash("output", "source")
        assert first == again
        assert len(first) == 16
        int(first, 16)

    def test_changes_with_its_sections_only(self, load: Load) -> None:
        plain, changed = load(MINIMAL), load(minimal(processing={"concurrency": 9}))
        assert plain.section_hash("source") == changed.section_hash("source")
        assert plain.section_hash("processing") != changed.section_hash("processing")

    def test_default_written_out_changes_nothing(self, load: Load) -> None:
        written = load(minimal(sync={"every_minutes": 15}, output={"path": "./data", "format": ["parquet"]}))
        assert written.section_hash("sync", "output") == load(MINIMAL).section_hash("sync", "output")

    def test_section_of_defaults_counts_as_empty(self, load: Load) -> None:
        assert load(MINIMAL).section_hash("processing") == hashlib.sha256(b"{}").hexdigest()[:16]

    def test_secret_changes_nothing(self) -> None:
        hashes = {
            Workflow.model_validate(with_source(auth={"type": "bearer", "token": token})).section_hash("source")
            for token in ("one", "another", "")
        }
        assert len(hashes) == 1

    def test_unknown_section_is_an_error(self, load: Load) -> None:
        with pytest.raises(ValueError, match="no section sauce"):
            load(MINIMAL).section_hash("source", "sauce")


def test_public_names_are_complete_and_sorted() -> None:
    assert config.__all__ == sorted(config.__all__)
    assert all(hasattr(config, name) for name in config.__all__)
