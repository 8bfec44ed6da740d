"""Number columns, and integers that are written as double because other files have floats there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import rustac

from stac_manager.output import NumberTypes, read_geoparquet, same_after_parquet
from tests.output.make import item, read_reference, write

BANDS = [{"name": "B1", "gsd": 10, "range": [1, 2]}, {"name": "B2", "gsd": 20, "range": [3, 4]}]


def deep(item_id: str = "a", **more: Any) -> dict[str, Any]:
    assets = {"data": {"href": "https://example.com/a.tif", "bands": BANDS}}
    return item(item_id, assets=assets, count=7, shape=[5, 6], nested={"x": {"y": 1}}, **more)


PATHS = (
    "/assets/data/bands/*/gsd",
    "/assets/data/bands/*/range/*",
    "/count",
    "/nested/x/y",
    "/shape/*",
)


def test_the_number_columns_are_told_with_their_paths(tmp_path: Path) -> None:
    result = write([deep(ratio=1.0), deep("b", ratio=2)], tmp_path / "f.parquet")
    assert result.numbers == NumberTypes(integer=PATHS, double=("/ratio",), widened=())


def test_integers_are_written_as_double_at_any_depth(tmp_path: Path) -> None:
    items = [deep(), deep("b")]
    result = write(items, tmp_path / "f.parquet", doubles={*PATHS, "/nothing", "/nested"})
    assert result.numbers == NumberTypes(integer=PATHS, double=(), widened=PATHS)
    assert "int64" not in str(pq.read_schema(tmp_path / "f.parquet"))
    for before, after in zip(items, read_geoparquet(tmp_path / "f.parquet"), strict=True):
        assert same_after_parquet(before, after) is None
    assert len(read_reference(tmp_path / "f.parquet")) == 2

    async def read() -> Any:
        return await rustac.read(str(tmp_path / "f.parquet"))

    assert asyncio.run(read())["features"][0]["properties"]["count"] == 7.0


def test_what_is_not_named_stays_an_integer(tmp_path: Path) -> None:
    result = write([deep()], tmp_path / "f.parquet", doubles={"/count"})
    assert result.numbers.widened == ("/count",)
    schema = pq.read_schema(tmp_path / "f.parquet")
    assert (str(schema.field("count").type), str(schema.field("shape").type)) == ("double", "list<element: int64>")


@pytest.mark.parametrize("place", [0, 1500, 2999])
@pytest.mark.parametrize("large", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_integers_beyond_2_to_53_are_never_widened(tmp_path: Path, place: int, large: int) -> None:
    items = [item(f"i{n:04}", count=large if n == place else n, other=n) for n in range(3000)]
    result = write(items, tmp_path / "f.parquet", doubles={"/count", "/other"})
    assert result.numbers == NumberTypes(integer=("/other",), double=(), widened=("/other",))
    assert pq.read_table(tmp_path / "f.parquet", columns=["count"])["count"][place].as_py() == large
    assert write(items, tmp_path / "g.parquet").numbers == NumberTypes(integer=("/other",), double=(), widened=())


@pytest.mark.parametrize("largest", [2**53, -(2**53)])
def test_the_largest_integer_that_a_double_holds_is_widened(tmp_path: Path, largest: int) -> None:
    assert write([item(count=largest)], tmp_path / "f.parquet", doubles={"/count"}).numbers.widened == ("/count",)
    assert next(iter(read_geoparquet(tmp_path / "f.parquet")))["properties"]["count"] == largest


@pytest.mark.parametrize("place", [0, 1503, 2999])
@pytest.mark.parametrize("number", [1.0, 0.5])
def test_a_single_float_among_integers_that_are_widened_is_seen(tmp_path: Path, place: int, number: float) -> None:
    items = [item(f"i{n:04}", count=number if n == place else n) for n in range(3000)]
    widened = write(items, tmp_path / "f.parquet", doubles={"/count"})
    assert widened.numbers == write(items, tmp_path / "g.parquet").numbers == NumberTypes((), ("/count",), ())
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "g.parquet").read_bytes()


def test_names_that_look_like_another_path_are_kept_apart(tmp_path: Path) -> None:
    odd = {"*": 1, "a/b": 2, "a": {"b": 3}, "~": 4, "~1": 5, "list": [6], "l": {"*": 7}}
    numbers = write([item(**{"x": odd})], tmp_path / "f.parquet").numbers
    assert numbers.integer == ("/x/a/b", "/x/a~1b", "/x/l/~2", "/x/list/*", "/x/~0", "/x/~01", "/x/~2")
