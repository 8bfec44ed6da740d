"""Odd items, each beside ordinary ones: either it comes back the same through every reader, or it is refused by id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pytest
import rustac

from stac_manager.items import Item
from stac_manager.output import parquet_form, read_geoparquet, same_after_parquet
from tests.output.make import SQUARE, item, read_reference, rejected_items, write

ACROSS = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]],
        [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]],
    ],
}
DEEP: Any = 1
for _ in range(40):
    DEEP = {"a": DEEP}

KEPT: dict[str, Item] = {
    "antimeridian": item("odd", top={"geometry": ACROSS, "bbox": [179, 0, -179, 1]}),
    "3d-geometry": item("odd", top={"geometry": {"type": "Point", "coordinates": [1, 2, 3]}, "bbox": [1, 2, 1, 2]}),
    "offset": item("odd", datetime="2024-01-31T23:30:00-05:00"),
    "nanoseconds": item("odd", datetime="2024-01-31T23:30:00.123456789Z"),
    "null-datetime": item(
        "odd", datetime=None, start_datetime="2024-01-01T00:00:00Z", end_datetime="2024-02-01T00:00:00Z"
    ),
    "no-assets": item("odd", assets={}),
    "empty-object": item("odd", thing={}),
    "empty-list": item("odd", thing=[]),
    "null-only": item("odd", **{"proj:epsg": None}),
    "big-integer": item("odd", size=2**63 - 1),
    "unicode": item("ß/日本\u2028 \\ 😀", title='"quoted"\n\ttab', **{"ключ": "значение"}),
    "control-characters": item("odd", title="a\x00b\x1fc"),
    "empty-name": item("odd", **{"": 1}),
    "dotted-names": item("odd", **{"a.b": 1, "a[]": {"c.d": [1]}}),
    "names-by-case": item("odd", Value=1, value="x", VALUE=True),
    "no-collection": item("odd", top={"collection": ..., "links": []}),
    "no-links": item("odd", top={"links": ..., "stac_extensions": ...}),
    "foreign-member": item("odd", top={"foo": 1}),
    "null-asset": item("odd", assets={"a": None, "b": {"href": "b"}}),
    "lists-of-lists": item("odd", m=[[1, 2.5], [], [None]], n=[[["x"]], []]),
    "proj-geometry": item("odd", **{"proj:geometry": {"type": "Point", "coordinates": [500000, 4e6]}}),
    "many-assets": item("odd", assets={f"a{number}": {"href": "x", f"k{number}": number} for number in range(300)}),
    "numbers": item("odd", a=-0.0, b=5e-324, c=1.7976931348623157e308, d=0.1, e=1e22, f=-1),
}

REFUSED: dict[str, tuple[Any, str, str]] = {
    "null-geometry": (item("odd", top={"geometry": None, "bbox": ...}), "ParquetGeometry", "`geometry` is null"),
    "no-geometry": (item("odd", top={"geometry": ...}), "ParquetGeometry", "`geometry` is null"),
    "empty-geometry": (
        item("odd", top={"geometry": {"type": "Polygon", "coordinates": []}}),
        "ParquetGeometry",
        "`geometry` has no coordinates",
    ),
    "open-ring": (
        item("odd", top={"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}}),
        "ParquetGeometry",
        "`geometry` has a ring that is not closed",
    ),
    "geometry-collection": (
        item("odd", top={"geometry": {"type": "GeometryCollection", "geometries": []}}),
        "ParquetGeometry",
        "`geometry` is a 'GeometryCollection'",
    ),
    "bad-proj-geometry": (
        item("odd", assets={"a": {"href": "a", "proj:geometry": {"type": "Point", "coordinates": ["x"]}}}),
        "ParquetGeometry",
        "`assets.a.proj:geometry` has positions of 1 numbers",
    ),
    "no-bbox": (item("odd", top={"bbox": ...}), "ParquetGeometry", "`bbox` is missing"),
    "short-bbox": (item("odd", top={"bbox": [1, 2]}), "ParquetGeometry", "`bbox` is not a list of 4 or 6 numbers"),
    "text-bbox": (item("odd", top={"bbox": ["1", "2", "3", "4"]}), "ParquetGeometry", "`bbox` holds '1'"),
    "bad-time": (
        item("odd", datetime="2024-01-31"),
        "ParquetTime",
        "`properties.datetime`: '2024-01-31' is not an RFC",
    ),
    "time-as-number": (
        item("odd", created=1706),
        "ParquetTypeConflict",
        "`properties.created` is a number; the column is",
    ),
    "property-id": (item("odd", id="other"), "ParquetNameConflict", "`properties.id` has the name of a member"),
    "property-properties": (item("odd", properties={}), "ParquetNameConflict", "`properties.properties` has the name"),
    "foreign-and-property": (
        item("odd", foo=1, top={"foo": 2}),
        "ParquetNameConflict",
        "`properties.foo` has the name",
    ),
    "asset-without-href": (item("odd", assets={"a": {"title": "x"}}), "ParquetTypeConflict", "`assets.a.href` is null"),
    "asset-as-text": (item("odd", assets={"a": "x"}), "ParquetTypeConflict", "`assets.a` is a string"),
    "assets-as-list": (item("odd", top={"assets": []}), "ParquetTypeConflict", "`assets` is a list"),
    "link-without-rel": (item("odd", top={"links": [{"href": "x"}]}), "ParquetTypeConflict", "`links[0].rel` is null"),
    "link-as-text": (item("odd", top={"links": ["x"]}), "ParquetTypeConflict", "`links[0]` is a string"),
    "links-as-object": (item("odd", top={"links": {}}), "ParquetTypeConflict", "`links` is an object"),
    "extension-as-number": (item("odd", top={"stac_extensions": [1]}), "ParquetTypeConflict", "`stac_extensions[0]`"),
    "extensions-as-text": (
        item("odd", top={"stac_extensions": "eo"}),
        "ParquetTypeConflict",
        "`stac_extensions` is a st",
    ),
    "collection-as-number": (item("odd", top={"collection": 1}), "ParquetTypeConflict", "`collection` is a number"),
    "mixed-type": (item("odd", common="text"), "ParquetTypeConflict", "`properties.common` is a string; the column is"),
    "mixed-in-an-asset": (
        item("odd", assets={"data": {"href": "x", "gsd": "ten"}}),
        "ParquetTypeConflict",
        "`assets.data.gsd` is a string; the column is a number",
    ),
    "huge-integer": (
        item("odd", big=2**63),
        "ParquetTypeConflict",
        "`properties.big` is 9223372036854775808, which is",
    ),
    "deep": (item("odd", deep=DEEP), "ParquetTypeConflict", "`properties.deep.a.a` is nested more than 32 levels"),
    "nul-in-a-name": (item("odd", x=[{"a\0": 1}]), "ParquetTypeConflict", "`properties.x[]` has a member with a NUL"),
    "lone-surrogate": (item("odd", title="\ud800"), "InvalidItem", "cannot be written as JSON"),
    "no-id": (item("odd", top={"id": ...}), "InvalidItem", "`id` is None"),
    "not-an-object": ("odd", "InvalidItem", "is a JSON str, not an object"),
}


def beside(odd: Any) -> list[Any]:
    data = {"data": {"href": "x", "gsd": 10}}
    return [
        item("before", common=1, assets=data),
        odd,
        item("after", common=2, assets=data, **{"proj:geometry": SQUARE}),
    ]


@pytest.mark.parametrize("odd", KEPT.values(), ids=KEPT)
async def test_every_reader_takes_it(tmp_path: Path, odd: Item):
    path = tmp_path / "f.parquet"
    items = beside(odd)
    assert write(items, path).rejected == []
    ids = [made["id"] for made in items]
    assert list(read_geoparquet(path)) == [parquet_form(made) for made in items]
    assert [same_after_parquet(*pair) for pair in zip(items, read_reference(path), strict=True)] == [None] * 3
    assert [found["id"] for found in (await rustac.read(str(path)))["features"]] == ids
    assert duckdb.sql(f"select id from '{path}'").fetchall() == [(made_id,) for made_id in ids]
    assert list(geopandas.read_parquet(path)["id"]) == ids


@pytest.mark.parametrize(("odd", "error_type", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_a_reason_and_the_rest_goes_on(tmp_path: Path, odd: Any, error_type: str, reason: str):
    path = tmp_path / "f.parquet"
    items = beside(odd)
    result = write(items, path)
    ((item_id, (found_type, message)),) = rejected_items(result).items()
    assert item_id == (odd.get("id") if isinstance(odd, dict) else None)
    assert (found_type, message[: len(reason)]) == (error_type, reason)
    assert "\n" not in message
    assert [same_after_parquet(*pair) for pair in zip([items[0], items[2]], read_reference(path), strict=True)] == [
        None
    ] * 2


async def test_all_odd_items_at_once_leave_a_file_that_every_reader_takes(tmp_path: Path):
    path = tmp_path / "f.parquet"
    ordinary = [item(f"i{number}", common=number, assets={"data": {"href": "x", "gsd": 10}}) for number in range(5)]
    odd = [{**made, "id": f"{name} {made['id']}"} for name, made in KEPT.items()]
    bad = [made for made, _, _ in REFUSED.values()]
    items = [*ordinary, *odd, *bad]
    result = write(items, path)
    gone = {id(rejection.source_data) for rejection in result.rejected}
    assert gone >= {id(made) for made in bad}
    kept = [made for made in items if id(made) not in gone]
    assert result.rows == len(kept)
    assert [same_after_parquet(*pair) for pair in zip(kept, read_reference(path), strict=True)] == [None] * len(kept)
    assert len((await rustac.read(str(path)))["features"]) == len(geopandas.read_parquet(path)) == len(kept)
