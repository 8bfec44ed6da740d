"""The checksum of a file is that of the rows that were passed to it, and of no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.items import loads
from stac_manager.output import read_geoparquet, write_geoparquet
from stac_manager.output.geoparquet.checksum import TableChecksum, file_checksum
from stac_manager.output.geoparquet.reader import read_rows, read_with_nulls
from tests.conftest import need
from tests.stac_items import make_item

ROW = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=3),
        "number": st.none() | st.integers(-(2**62), 2**62),
        "float": st.none() | st.floats(allow_nan=False),
        "flag": st.none() | st.booleans(),
        "list": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3),
        "object": st.none() | st.fixed_dictionaries({"a": st.none() | st.lists(st.integers(0, 9), max_size=2)}),
        "objects": st.none() | st.lists(st.fixed_dictionaries({"b": st.none() | st.binary(max_size=2)}), max_size=2),
    }
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("number", pa.int64()),
        ("float", pa.float64()),
        ("flag", pa.bool_()),
        ("list", pa.list_(pa.string())),
        ("object", pa.struct([("a", pa.list_(pa.int64()))])),
        ("objects", pa.list_(pa.struct([("b", pa.binary())]))),
    ]
)


def checksum(table: pa.Table) -> str:
    total = TableChecksum()
    total.add(table)
    return total.hexdigest()


@given(before=st.lists(ROW, max_size=4), rows=st.lists(ROW, min_size=1, max_size=6), cut=st.integers(0, 6))
def test_rows_have_one_checksum_however_they_lie_in_memory(before: list[Any], rows: list[Any], cut: int) -> None:
    plain = pa.Table.from_pylist(rows, schema=SCHEMA)
    shifted = pa.Table.from_pylist([*before, *rows], schema=SCHEMA).slice(len(before))
    chunked = pa.concat_tables([plain.slice(0, cut), plain.slice(cut)])
    assert checksum(plain) == checksum(shifted) == checksum(chunked)


@given(rows=st.lists(ROW, min_size=1, max_size=5), other=st.lists(ROW, min_size=1, max_size=5))
def test_other_rows_have_another_checksum(rows: list[Any], other: list[Any]) -> None:
    one, two = (pa.Table.from_pylist(each, schema=SCHEMA) for each in (rows, other))
    # as text, because 0.0 == -0.0
    assert (checksum(one) == checksum(two)) == (repr(one.to_pylist()) == repr(two.to_pylist()))


@given(rows=st.lists(ROW, min_size=1, max_size=6))
def test_a_file_has_the_checksum_of_its_rows(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, path)
    assert file_checksum(path) == checksum(table)


def test_a_file_of_real_items_has_the_checksum_that_was_taken_while_it_was_written(
    corpus_dir: Path, tmp_path: Path
) -> None:
    sources = sorted(corpus_dir.glob("*/items.ndjson"))
    need(bool(sources), "there are no real items")
    for source in sources:
        items = [loads(line) for line in source.read_bytes().splitlines()]
        path = tmp_path / f"{source.parent.name}.parquet"
        result = write_geoparquet(lambda items=items: items, path)
        if result.rows:
            assert file_checksum(path) == result.checksum, source


def test_some_rows_are_read_as_all_rows_are(tmp_path: Path) -> None:
    items = [make_item(f"i{number:03}", "2024-01-01T00:00:00Z", number=number) for number in range(50)]
    path = tmp_path / "items.parquet"
    write_geoparquet(lambda: items, path)
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=20)
    every = list(read_with_nulls(path))
    for rows in ([], [0], [19, 20, 49], [3, 25, 41]):
        assert list(read_rows(path, rows)) == [every[row] for row in rows]
    assert len(list(read_geoparquet(path))) == 50
