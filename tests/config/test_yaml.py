"""Odd files: each gives one clear problem, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from stac_manager.config import load_workflow
from stac_manager.errors import ConfigError, Problem
from tests.config.conftest import MINIMAL, Load, Refused, only


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_workflow(path, environ={})
    return caught.value.problems


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (b"", None, "an empty file"),
        (b"# nothing yet\n", None, "an empty file"),
        (b"\xef\xbb\xbf", None, "an empty file"),
        (b"- a\n- b\n", 1, "a list"),
        (b"\n\njust a text\n", 3, "a text"),
        (b"a: \xff\xfe\n", 1, "bytes that are not UTF-8"),
        ("workflow: {}".encode("utf-16"), 1, "bytes that are not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1, "bytes that are not UTF-8"),
        (b"a: 1\nb: \x00\n", 2, "the character U+0000"),
        (b"a:\n\tb: 1\n", 2, "a tab"),
        (b"a: b: c\n", 1, "a `:` where no key can stand"),
        (b"a: 1\nb\n", 2, "a line that is no `key: value`"),
        (b"a:\n  b: 1\n c: 2\n", 3, "a line that does not line up"),
        (b"a: [1, 2\n", 1, "a list that is not closed"),
        (b"a: {b: 1\n", 1, "a mapping that is not closed"),
        (b'a: "b\n', 1, "a quote that is not closed"),
        (b"a: @b\n", 1, "a value that starts with `@`"),
        (b"collections: [*]\n", 1, "a `*` or `&` without a name"),
        (b"a: *b\n", 1, "a `*` with a name that is defined nowhere"),
        (b"---\na: 1\n---\nb: 2\n", 3, "a second document (`---`)"),
        (b'a: "\\UFFFFFFFF"\n', None, "a number or an escape that is out of range"),
        (b"!!python/object:os.system {a: 1}\n", 1, "the tag `!!python/object:os.system`"),
        (b"a: " + b"[" * 100_000, 1, "lists and mappings nested too deeply"),
        (b"a: &a {b: *a, c: *a}\n", 1, "aliases nested too deeply"),
        (b"#" * (1 << 20) + b"\na: 1\n", None, "more than 1 MiB"),
    ],
)
def test_file_that_is_no_workflow_gives_one_problem(
    tmp_path: Path, content: bytes, line: int | None, found: str
) -> None:
    path = tmp_path / "flow.yaml"
    path.write_bytes(content)
    problem = only(problems_of(path))
    assert (problem.file, problem.line, problem.found) == (str(path), line, found)


def test_folder_missing_file_and_impossible_name_are_one_problem_each(tmp_path: Path) -> None:
    assert only(problems_of(tmp_path)).found == "a folder"
    assert only(problems_of(tmp_path / "missing.yaml")).found == "no such file"
    assert only(problems_of(tmp_path / "a\0b")).found == "a name that no file can have"
    assert "cannot be read" in only(problems_of(tmp_path / ("a" * 300))).found


def test_billion_laughs_are_cut_short(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path = tmp_path / "flow.yaml"
    path.write_text("\n".join(lines))
    assert "100,000" in only(problems_of(path)).found


def test_alias_of_a_value_is_followed(load: Load) -> None:
    text = MINIMAL.replace('"2024-01-01"', '&day "2024-01-01"') + "output: {path: *day}\n"
    assert load(text).output.path == "2024-01-01"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!env", "!!binary", "!!set", "!!timestamp"]
)
def test_tag_is_refused_and_nothing_runs(refused: Refused, tag: str) -> None:
    problem = only(refused(MINIMAL + f"logging:\n  file: {tag} echo\n"))
    assert (problem.line, problem.path, problem.found) == (7, "logging.file", f"the tag `{tag}`")


def test_duplicate_keys_are_refused_with_both_lines(refused: Refused) -> None:
    problem = only(refused(MINIMAL + "output:\n  path: a\n  format: [parquet]\n  path: b\n"))
    assert (problem.line, problem.path) == (9, "output.path")
    assert "line 7 has it too" in problem.expected


@pytest.mark.parametrize("key", ["1", "null", "true", "[a]", "<<", "2.5"])
def test_key_that_is_no_text_is_refused(refused: Refused, key: str) -> None:
    problem = only(refused(MINIMAL + f"sync:\n  ? {key}\n  : {{every_minutes: 3}}\n"))
    assert problem.line == 7
    assert "key" in problem.found


def test_merge_key_is_refused_rather_than_ignored(refused: Refused) -> None:
    text = MINIMAL.replace("partitions", "  filters: {cql2: {op: in, args: [], <<: {op: '='}}}\npartitions")
    assert only(refused(text)).expected == "the keys themselves: merge keys are not taken"


@pytest.mark.parametrize("written", ["on", "no", "2024-01-01", "12:30", "0b1", "1_000", "1e3x", ".inf"])
def test_text_that_older_yaml_takes_for_something_else_stays_a_text(load: Load, written: str) -> None:
    assert load(MINIMAL.replace("sentinel-2-l2a", written)).collections == (written,)


@pytest.mark.parametrize("written", ["2024", "1.0", "0x1F", "1e3", "true"])
def test_number_where_a_text_is_needed_asks_for_quotes(refused: Refused, written: str) -> None:
    problem = only(refused(MINIMAL.replace("sentinel-2-l2a", written)))
    assert written in problem.found
    assert problem.expected == "a text, in quotes"


@pytest.mark.parametrize(
    ("written", "number"), [("010", 10), ("0x10", 16), ("0o10", 8), ("+7", 7), ("1e1", 10), ("8.0", 8)]
)
def test_numbers_are_read_as_editors_read_them(load: Load, written: str, number: int) -> None:
    assert load(MINIMAL + f"processing: {{concurrency: {written}}}\n").processing.concurrency == number


@pytest.mark.parametrize("written", ["9" * 30, "1e999", "9" * 5000, "0x" + "f" * 30])
def test_number_beyond_json_is_refused(refused: Refused, written: str) -> None:
    problem = only(refused(MINIMAL + f"processing: {{rate_limit: {written}}}\n"))
    assert problem.expected == "a smaller number; quotes, if it is a text"
    assert len(problem.found) < 100


@pytest.mark.parametrize("escape", ["\\0", "\\ud800"])
def test_text_that_no_file_can_hold_is_refused(refused: Refused, escape: str) -> None:
    assert only(refused(MINIMAL + f'output: {{path: "a{escape}b"}}\n')).path == "output.path"


def test_long_values_are_cut_in_messages(refused: Refused) -> None:
    problem = only(refused(MINIMAL + f"validation: {{level: {'x' * 5000}}}\n"))
    assert len(str(problem)) < 300


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_workflow(path, environ={}).workflow.name == "alps"


def test_json_is_yaml(load: Load) -> None:
    text = (
        '{"workflow": {"name": "a"}, "source": {"catalog_url": "https:\\/\\/x.org", "collections": ["b"]},'
        ' "partitions": {"start": "2024-01-01"}}'
    )
    assert load(text).collections == ("b",)
