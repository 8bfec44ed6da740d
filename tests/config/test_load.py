from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stac_manager.config import load_workflow
from stac_manager.errors import ConfigError, NotSupportedError, Problem
from tests.config.conftest import MINIMAL, Load, Refused, minimal, only, with_source


def test_unknown_key_names_the_nearest_known_key(refused: Refused) -> None:
    problem = only(refused(MINIMAL.replace("collections:", "colections:")))
    assert (problem.line, problem.path) == (4, "source.colections")
    assert problem.found == "the unknown key 'colections'"
    assert "did you mean `collections`?" in problem.expected


def test_unknown_key_that_belongs_elsewhere_is_sent_there(refused: Refused) -> None:
    problem = only(refused(with_source(bbox=[1, 2, 3, 4])))
    assert (problem.path, problem.expected) == ("source.bbox", "it below `source.filters.spatial`")


def test_unknown_key_unlike_any_other_lists_the_known_ones(refused: Refused) -> None:
    problem = only(refused(minimal(sync={"zzzz": 1})))
    assert problem.expected.startswith("one of `every_minutes`, `latest_windows`, `request_budget`")


@pytest.mark.parametrize(
    ("section", "value", "path"),
    [
        ("extensions", [{"name": "a", "confg": {}}], "extensions[0].confg"),
        ("source", {"filters": {"temporal": {"start": "2024-01-01"}}}, "source.filters.temporal.start"),
    ],
)
def test_unknown_key_is_found_at_any_depth(refused: Refused, section: str, value: Any, path: str) -> None:
    assert path in [problem.path for problem in refused(minimal(**{section: value}))]


def test_missing_key_says_what_it_is_for(refused: Refused) -> None:
    problem = only(refused("workflow: {name: a}\nsource:\n  collections: [a]\npartitions: {start: 2024-01-01}\n"))
    assert (problem.line, problem.path, problem.found) == (2, "source.catalog_url", "nothing")
    assert "The root of the API" in problem.expected


def test_key_without_a_value_counts_as_missing_on_its_own_line(refused: Refused) -> None:
    problem = only(refused(MINIMAL.replace("[sentinel-2-l2a]", "")))
    assert (problem.line, problem.path, problem.found) == (4, "source.collections", "nothing")


def test_choice_names_what_there_is(refused: Refused) -> None:
    problem = only(refused(minimal(validation={"level": "strickt"})))
    assert problem.expected == "one of `strict`, `lenient`; did you mean `strict`?"


def test_type_of_source_that_does_not_exist_is_refused_at_its_key(refused: Refused) -> None:
    problem = only(refused(with_source(type="stac-api")))
    assert problem.path == "source.type"
    assert "did you mean `stac_api`?" in problem.expected


@pytest.mark.parametrize("auth", [{"token": "x"}, {"type": "digest"}, {"type": 7}, "x", []])
def test_auth_of_no_type_is_refused(refused: Refused, auth: Any) -> None:
    problems = refused(with_source(auth=auth))
    assert {problem.path for problem in problems} <= {"source.auth", "source.auth.type"}


def test_paths_hold_no_tags_of_the_model(refused: Refused) -> None:
    auth = {"type": "oauth2_client_credentials", "client_id": "", "oauth2_client_credentials": 1}
    problems = refused(
        with_source(type="stac_api", stac_api=1, auth=auth, filters={"spatial": {"bbox": ["x", 1, 2, 3]}})
    )
    paths = {problem.path for problem in problems}
    assert paths >= {
        "source.stac_api",
        "source.auth.client_id",
        "source.auth.client_secret",
        "source.auth.oauth2_client_credentials",
        "source.filters.spatial.bbox[0]",
    }
    assert not [
        path for path in paths if path.startswith(("source.stac_api.", "source.auth.oauth2_client_credentials."))
    ]


EVERYTHING_WRONG = """\
workflow: {name: "a b"}
source:
  type: stac_api
  catalog_url: ftp://example.org
  colections: [a]
  filters:
    spatial: {bbox: [1, 2, 3]}
    cql2: {op: =, args: []}
    cql2: {op: =, args: []}
output:
  path: ${NOWHERE}
  format: [parquet, json]
partitions:
  by: months
processing: {concurrency: 100}
logging: {file: !env LOG}
"""


def test_every_problem_is_told_at_once_and_in_order(refused: Refused, tmp_path: Path) -> None:
    problems = refused(EVERYTHING_WRONG)
    assert [(problem.line, problem.path) for problem in problems] == [
        (1, "workflow.name"),
        (4, "source.catalog_url"),
        (5, "source.colections"),
        (7, "source.filters.spatial.bbox"),
        (9, "source.filters.cql2"),
        (11, "output.path"),
        (12, "output.format[1]"),
        (13, "partitions.start"),
        (14, "partitions.by"),
        (15, "processing.concurrency"),
        (16, "logging.file"),
    ]
    assert {problem.file for problem in problems} == {str(tmp_path / "flow.yaml")}


@pytest.mark.parametrize(
    "raw", ["Input should", "valid dictionary", "Extra inputs", "Field required", "pydantic", "tuple"]
)
def test_problems_speak_to_a_person(refused: Refused, raw: str) -> None:
    problems = refused(EVERYTHING_WRONG + "sync: 3\nvalidation: {offline: [], schemas: x}\n")
    assert all(raw not in str(problem) and len(str(problem).splitlines()) == 1 for problem in problems)


def test_file_is_named_as_the_person_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_workflow("./flow.yaml")
    assert caught.value.problems[0].file == "./flow.yaml"


class TestUnsupported:
    def test_what_is_right_but_not_built_yet_is_its_own_error(self, load: Load) -> None:
        data = with_source(profile="earth-search")
        data["output"] = {"format": ["parquet", "pgstac"]}
        with pytest.raises(NotSupportedError) as caught:
            load(data)
        assert [problem.path for problem in caught.value.problems] == ["source.profile", "output.format[1]"]
        assert all("not supported yet; this version" in problem.expected for problem in caught.value.problems)

    def test_real_errors_come_first_but_tell_it_too(self, load: Load) -> None:
        with pytest.raises(ConfigError) as caught:
            load({**with_source(profile="earth-search"), "sync": {"every_minutes": 0}})
        assert not isinstance(caught.value, NotSupportedError)
        assert [problem.path for problem in caught.value.problems] == ["source.profile", "sync.every_minutes"]

    @pytest.mark.parametrize(
        ("sections", "path"),
        [
            (minimal(transformation={"mapping_schema": "mappings/a.yaml"}), "transformation.mapping_schema"),
            (minimal(transformation={"mapping_schema": {"id": "name"}}), "transformation.mapping_schema"),
            (minimal(extensions=[{"name": "alternate-assets", "config": {"a": 1}}]), "extensions[0].name"),
            (minimal(validation={"schemas": ["https://example.org/a.json"]}), "validation.schemas"),
            (minimal(output={"format": ["json"]}), "output.format[0]"),
            (minimal(source={"type": "local_files", "paths": ["a.csv"], "collections": ["a"]}), "source.type"),
        ],
    )
    def test_each_is_named(self, load: Load, sections: dict[str, Any], path: str) -> None:
        with pytest.raises(NotSupportedError) as caught:
            load(sections)
        assert only(caught.value.problems).path == path

    @pytest.mark.parametrize(
        "sections",
        [
            {"validation": {"level": "lenient", "schema_dirs": ["schemas"], "offline": True, "schemas": []}},
            {"extensions": []},
            {"transformation": None},
            {"partitions": {"by": "week", "start": "2024-01-01", "end": "2025-01-01", "per_run": 30}},
            {"sync": {"every_minutes": 1, "latest_windows": 3}},
            {"processing": {"rate_limit": 0.5, "page_size": 10, "timeout_seconds": 1.5, "retry_max_attempts": 1}},
            {"logging": {"level": "DEBUG", "file": "run.log"}},
            {"workflow": {"name": "a", "description": "b", "owners": ["team:eo"]}},
        ],
    )
    def test_the_rest_is_supported(self, load: Load, sections: dict[str, Any]) -> None:
        load(minimal(**sections))


class TestExamples:
    folder = Path(__file__).parents[2] / "workflows"

    @pytest.mark.parametrize("path", sorted(folder.glob("*.yaml")), ids=lambda path: path.stem)
    def test_example_is_read_without_any_variable(self, path: Path) -> None:
        workflow = load_workflow(path, environ={})
        assert workflow.workflow.name == path.stem
        assert path.read_text().startswith(
            "# yaml-language-server: $schema=../stac_manager/config/workflow.schema.json\n"
        )

    def test_there_are_three(self) -> None:
        names = {path.stem for path in self.folder.glob("*.yaml")}
        assert names >= {"earth-search", "planetary-computer", "cmr-stac-lpcloud"}


def test_problem_is_one_line_with_file_line_and_path(refused: Refused) -> None:
    problem = only(refused(minimal(sync={"every_minutes": 0})))
    assert isinstance(problem, Problem)
    assert str(problem).endswith(
        "flow.yaml:10: sync.every_minutes: found the number 0; expected a number of at least 0.05"
    )
