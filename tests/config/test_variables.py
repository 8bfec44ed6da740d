"""`${NAME}` in workflow files: filled in after parsing, and never shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from stac_manager.config import Workflow
from stac_manager.config.fields import Section
from stac_manager.errors import ConfigError
from tests.config.conftest import MINIMAL, Load, Refused, minimal, only, with_source


def test_variable_is_filled_in(load: Load) -> None:
    workflow = load(minimal(output={"path": "s3://${BUCKET}/stac"}), BUCKET="mine")
    assert workflow.output.path == "s3://mine/stac"


@pytest.mark.parametrize(("environ", "path"), [({}, "./data"), ({"OUT": ""}, "./data"), ({"OUT": "/srv"}, "/srv")])
def test_default_counts_where_a_variable_is_unset_or_empty(load: Load, environ: dict[str, str], path: str) -> None:
    assert load(minimal(output={"path": "${OUT:-./data}"}), **environ).output.path == path


def test_two_dollars_are_one_and_stop_a_variable(load: Load) -> None:
    assert load(minimal(output={"path": "a$$b/$${OUT}/$c"}), OUT="x").output.path == "a$b/${OUT}/$c"


def test_value_of_a_variable_is_not_filled_in_again(load: Load) -> None:
    assert load(minimal(output={"path": "${A}"}), A="${B}$$", B="x").output.path == "${B}$$"


@pytest.mark.parametrize("value", ["x, b]\nlogging: {level: DEBUG", "'\"\n\t- &a *a !!python/object", "a: b", "# c"])
def test_value_cannot_bring_yaml_with_it(load: Load, value: str) -> None:
    workflow = load(MINIMAL + "output: {path: '${OUT}'}\n", OUT=value)
    assert workflow.output.path == value
    assert workflow.logging.level == "INFO"


def test_whole_variable_may_be_a_number_a_boolean_a_time_or_a_choice(load: Load) -> None:
    text = MINIMAL.replace('"2024-01-01"', '"${START}"') + (
        "processing:\n  concurrency: ${N}\n  rate_limit: ${RATE}\n"
        "validation:\n  offline: ${OFFLINE}\n  level: ${LEVEL}\n"
    )
    workflow = load(text, N="8", RATE="2.5", OFFLINE="true", LEVEL="lenient", START="2024-05-01")
    assert (workflow.processing.concurrency, workflow.processing.rate_limit) == (8, 2.5)
    assert (workflow.validation.offline, workflow.validation.level) == (True, "lenient")
    assert workflow.scheme().keys(workflow.scheme().start) == ["2024-05"]


@pytest.mark.parametrize(("written", "meant"), [("${MAX}", 20), ('"${MAX}"', "20"), ("a${MAX}", "a20")])
def test_unquoted_variable_in_a_condition_is_a_number_if_it_looks_like_one(
    load: Load, written: str, meant: Any
) -> None:
    text = MINIMAL.replace("partitions", f"  filters:\n    query:\n      a:\n        lt: {written}\npartitions")
    assert load(text, MAX="20").source.filters.query == {"a": {"lt": meant}}


def test_missing_variable_is_a_problem_with_its_name_and_place(refused: Refused) -> None:
    problem = only(refused(MINIMAL + "output:\n  path: /srv/${OUT}\n"))
    assert (problem.line, problem.path, problem.found) == (7, "output.path", "`${OUT}`, which is not set")
    assert "OUT in the environment" in problem.expected


def test_two_missing_variables_in_one_value_are_two_problems(refused: Refused) -> None:
    assert len(refused(minimal(output={"path": "${A}/${B}"}))) == 2


def test_missing_variable_brings_no_second_problem(refused: Refused) -> None:
    data = with_source(filters={"temporal": {"start_date": "${START}"}}, type="${TYPE}", collections=["${ID}"])
    data |= {"partitions": {"by": "${BY}"}, "processing": {"concurrency": "${N}"}, "workflow": "${WORKFLOW}"}
    found = [problem.found for problem in refused(data)]
    names = {"START", "TYPE", "ID", "BY", "N", "WORKFLOW"}
    assert sorted(found) == sorted(f"`${{{name}}}`, which is not set" for name in names)


@pytest.mark.parametrize("written", ["${", "${}", "${1A}", "${A B}", "${A:-x", "${A-x}", "a${"])
def test_half_a_variable_is_a_problem(refused: Refused, written: str) -> None:
    problem = only(refused(minimal(output={"path": written}), A="x"))
    assert problem.found == "a `${` without the name of a variable"


def test_keys_are_left_as_they_are(refused: Refused) -> None:
    assert only(refused(MINIMAL + '"${A}": 1\n', A="sync")).found == "the unknown key '${A}'"


def test_wrong_value_of_a_variable_is_shown_as_the_variable(refused: Refused) -> None:
    problem = only(refused(minimal(processing={"rate_limit": "${RATE}"}), RATE="hunter2"))
    assert problem.found == "'${RATE}'"


@pytest.mark.parametrize("value", ["a\0b", "a\udce9b"])
def test_value_that_is_no_text_is_refused(refused: Refused, value: str) -> None:
    problem = only(refused(minimal(output={"path": "${OUT}"}), OUT=value))
    assert (problem.path, problem.found) == ("output.path", "'${OUT}'")


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _leaves(section: type[Section], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place of a workflow where a value can stand."""
    for name, field in section.model_fields.items():
        yield (*above, name)
        for part in _sections(field.annotation):
            yield from _leaves(part, (*above, name))


LEAVES = sorted(set(_leaves(Workflow)))


@pytest.mark.parametrize("where", LEAVES, ids=".".join)
@pytest.mark.parametrize("shape", ["whole", "list", "mapping"])
def test_no_value_of_a_variable_is_ever_shown(load: Load, where: tuple[str, ...], shape: str) -> None:
    secret = "hunter2-§-strict"
    value: Any = {"whole": "${S}", "list": ["${S}", "${S}", "*${S}"], "mapping": {"a": "${S}"}}[shape]
    auth = {"type": "basic", "username": "a", "password": "b"}
    data: dict[str, Any] = with_source(auth=auth, profile="not supported yet, so that there always is a problem")
    place = data
    for step in where[:-1]:
        place = place.setdefault(step, {})
    place[where[-1]] = value
    with pytest.raises(ConfigError) as caught:
        load(data, S=secret)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__context__)


def test_secret_that_stands_in_the_file_is_not_shown_either(refused: Refused) -> None:
    data = with_source(auth={"type": "basic", "username": ["hunter2"], "password": 20242024, "token": "hunter2"})
    text = " ".join(map(str, refused(data)))
    assert "hunter2" not in text
    assert "20242024" not in text


@pytest.mark.parametrize("written", ["20242024", "2024" * 10, "!!int hunter2024", "!hunter hunter2024", '"2024\\0"'])
def test_secret_of_the_wrong_kind_is_not_shown(refused: Refused, written: str) -> None:
    text = MINIMAL.replace("partitions", f"  auth: {{type: bearer, token: {written}}}\npartitions")
    assert "2024" not in " ".join(problem.found for problem in refused(text))
