from __future__ import annotations

from pathlib import Path

import pytest

from stac_manager.config import load_workflows
from stac_manager.errors import ConfigError, NotSupportedError
from tests.config.conftest import MINIMAL, only


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def named(name: str, *, collection: str = "sentinel-2-l2a", path: str = "./data") -> str:
    return MINIMAL.replace("alps", name).replace("sentinel-2-l2a", collection) + f"output: {{path: {path}}}\n"


def test_every_workflow_of_a_folder_is_read_in_order(tmp_path: Path) -> None:
    write(tmp_path, b=named("one", path="x"), a=named("two", path="y"))
    (tmp_path / "c.yml").write_text(named("three", path="z"))
    (tmp_path / "notes.txt").write_text("not a workflow")
    (tmp_path / ".draft.yaml").write_text("not: ready")
    (tmp_path / "more").mkdir()
    assert [workflow.workflow.name for workflow in load_workflows(tmp_path)] == ["two", "one", "three"]


def test_empty_folder_has_no_workflows(tmp_path: Path) -> None:
    assert load_workflows(tmp_path) == []


@pytest.mark.parametrize("name", ["missing", "file", "a\0b"])
def test_folder_that_is_none_is_one_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        load_workflows(tmp_path / name)
    assert only(caught.value.problems).expected == "a folder of workflow files"


@pytest.mark.parametrize(("first", "second"), [("alps", "alps"), ("the-alps", "the_alps")])
def test_two_workflows_of_one_name_are_refused_with_both_files(tmp_path: Path, first: str, second: str) -> None:
    write(tmp_path, a=named(first, path="x"), b=named(second, path="y"))
    with pytest.raises(ConfigError) as caught:
        load_workflows(tmp_path)
    problem = only(caught.value.problems)
    assert (problem.file, problem.line, problem.path) == (str(tmp_path / "b.yaml"), 1, "workflow.name")
    assert str(tmp_path / "a.yaml") in problem.expected


@pytest.mark.parametrize("path", ["./data", "data", "data/", "x/../data", "s3://bucket/a"])
def test_two_workflows_cannot_publish_their_catalogs_to_one_place(tmp_path: Path, path: str) -> None:
    other = "s3://bucket/a/" if path.startswith("s3") else "./data"
    write(tmp_path, a=named("one", path=other, collection="a"), b=named("two", path=path, collection="b"))
    with pytest.raises(ConfigError) as caught:
        load_workflows(tmp_path)
    problem = only(caught.value.problems)
    assert (problem.file, problem.path) == (str(tmp_path / "b.yaml"), "output.path")
    assert str(tmp_path / "a.yaml") in problem.expected


def test_two_workflows_cannot_make_one_job_name(tmp_path: Path) -> None:
    write(tmp_path, a=named("s2", path="x", collection="alps_l2a"), b=named("s2_alps", path="y", collection="l2a"))
    with pytest.raises(ConfigError) as caught:
        load_workflows(tmp_path)
    problem = only(caught.value.problems)
    assert (problem.file, problem.path) == (str(tmp_path / "b.yaml"), "source.collections[0]")
    assert "s2_alps_l2a" in problem.expected


def test_problems_of_every_file_are_told_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="- list\n",
        b=named("x", path="http://x"),
        c=named("y"),
        d=named("y", path="z") + "extensions: [{name: a}]\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_workflows(tmp_path)
    assert [(Path(problem.file).name, problem.path) for problem in caught.value.problems] == [
        ("a.yaml", ""),
        ("b.yaml", "output.path"),
        ("d.yaml", "workflow.name"),
        ("d.yaml", "extensions[0].name"),
    ]
    assert not isinstance(caught.value, NotSupportedError)


def test_files_that_only_ask_for_too_much_are_not_supported(tmp_path: Path) -> None:
    write(tmp_path, a=named("x"), b=named("y", path="z") + "extensions: [{name: a}]\n")
    with pytest.raises(NotSupportedError) as caught:
        load_workflows(tmp_path)
    assert only(caught.value.problems).path == "extensions[0].name"


def test_variables_come_from_the_process_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a=named("x", path='"${STAC_MANAGER_TEST_OUT}"'))
    monkeypatch.setenv("STAC_MANAGER_TEST_OUT", "/srv/x")
    assert load_workflows(tmp_path)[0].output.path == "/srv/x"
