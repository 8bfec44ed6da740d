"""Each row of the table "What changes" in docs/parquet.md, and that there are no others."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
from stac_geoparquet.arrow import parse_stac_items_to_parquet

from stac_manager.items import Item
from stac_manager.output import parquet_form, read_geoparquet, same_after_parquet
from tests.output.make import SQUARE, item, read_reference, write

OTHER = item("other", maybe=1, holder={"inner": 1}, rows=[{"a": 1}], **{"proj:geometry": SQUARE})
"""An item that gives the file columns which the item under test has not."""


def trip(tmp_path: Path, made: Item, *beside: Item) -> tuple[Item, Item]:
    """The item as `read_geoparquet` and as stac_geoparquet read it."""
    path = tmp_path / "f.parquet"
    assert write([made, *beside], path).rejected == []
    return next(iter(read_geoparquet(path))), read_reference(path)[0]


def changed(made: Item, **properties: Any) -> Item:
    """The item with other properties; None removes one."""
    return {
        **made,
        "properties": {name: v for name, v in {**made["properties"], **properties}.items() if v is not None},
    }


def test_an_ordinary_item_comes_back_as_it_was(tmp_path: Path):
    made = item(**{"eo:cloud_cover": 3.5, "count": 3, "ok": True, "tags": ["b", "a"], "nested": {"x": [[1, 2], []]}})
    ours, theirs = trip(tmp_path, made)
    assert ours == made == parquet_form(made)
    theirs["properties"]["datetime"] = made["properties"]["datetime"]
    assert theirs == made


@pytest.mark.parametrize("beside", [[], [OTHER]], ids=["alone", "beside-others"])
def test_null_members_become_absent(tmp_path: Path, beside: list[Item]):
    made = item(maybe=None, holder={"inner": None, "kept": 1}, rows=[{"a": None, "b": 2}])
    ours, theirs = trip(tmp_path, made, *beside)
    assert ours == changed(made, maybe=None, holder={"kept": 1}, rows=[{"b": 2}])
    assert same_after_parquet(made, theirs) is None


def test_a_missing_datetime_becomes_null(tmp_path: Path):
    made = item()
    del made["properties"]["datetime"]
    ours, theirs = trip(tmp_path, made)
    assert ours["properties"] == theirs["properties"] == {"datetime": None}


def test_null_elements_of_lists_stay(tmp_path: Path):
    made = item(a=[1, None, 2], b=[None, None], c=[[None], []])
    ours, theirs = trip(tmp_path, made)
    assert ours == made
    assert same_after_parquet(made, theirs) is None


@pytest.mark.parametrize("beside", [[], [OTHER]], ids=["alone", "beside-others"])
def test_objects_without_members_become_absent_and_in_lists_null(tmp_path: Path, beside: list[Item]):
    made = item(holder={}, outer={"inner": {}}, rows=[{}, {"b": 1}], empties=[{}, {}])
    ours, theirs = trip(tmp_path, made, *beside)
    assert ours == changed(item(), rows=[None, {"b": 1}], empties=[None, None])
    assert same_after_parquet(made, theirs) is None


def test_missing_assets_become_an_empty_object(tmp_path: Path):
    ours, theirs = trip(tmp_path, item(top={"assets": ...}))
    assert ours["assets"] == theirs["assets"] == {}
    assert trip(tmp_path, item(assets={}))[0]["assets"] == {}
    assert trip(tmp_path, item(assets={}), OTHER)[1]["assets"] == {}


def test_empty_lists_stay(tmp_path: Path):
    made = item(tags=[], top={"links": [], "stac_extensions": []})
    ours, theirs = trip(tmp_path, made)
    assert ours == made
    assert (theirs["links"], theirs["stac_extensions"], theirs["properties"]["tags"]) == ([], [], [])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("2024-01-31T12:30:00+02:30", "2024-01-31T10:00:00Z"),
        ("2024-01-31T10:00:00.5Z", "2024-01-31T10:00:00.500000Z"),
        ("2024-01-31T10:00:00.000Z", "2024-01-31T10:00:00Z"),
        ("2024-01-31T10:00:00.123456789Z", "2024-01-31T10:00:00.123456Z"),
        ("2024-01-31 10:00:00z", "2024-01-31T10:00:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_become_utc_to_the_microsecond(tmp_path: Path, written: str, read: str):
    made = item(datetime=written, updated=written, other_time=written)
    ours, theirs = trip(tmp_path, made)
    assert ours["properties"] == {"datetime": read, "updated": read, "other_time": written}
    assert same_after_parquet(made, theirs) is None


def test_unknown_members_move_into_properties(tmp_path: Path):
    made = item(top={"description": "x", "foo": {"bar": 1}})
    ours, theirs = trip(tmp_path, made)
    assert ours == changed(item(), description="x", foo={"bar": 1})
    assert same_after_parquet(made, theirs) is None


def test_integers_in_a_column_of_floats_keep_their_value(tmp_path: Path):
    made = item(v=3, rows=[1, 2])
    ours, theirs = trip(tmp_path, made, item("b", v=0.5, rows=[0.5]))
    assert (ours["properties"]["v"], type(ours["properties"]["v"])) == (3, float)
    assert same_after_parquet(made, theirs) is None


def test_a_missing_proj_geometry_is_an_empty_polygon_for_stac_geoparquet(tmp_path: Path):
    ours, theirs = trip(tmp_path, item(), OTHER)
    assert theirs["properties"]["proj:geometry"] == {"type": "Polygon", "coordinates": []}
    assert "proj:geometry" not in ours["properties"]


def test_proj_geometry_of_assets_comes_back(tmp_path: Path):
    made = item(assets={"a": {"href": "a", "proj:geometry": SQUARE}, "b": {"href": "b"}})
    other = item("other", assets={"a": {"href": "a"}, "b": {"href": "b", "proj:geometry": None}})
    ours, theirs = trip(tmp_path, made, other)
    assert ours == made
    assert same_after_parquet(made, theirs) is None


def test_a_missing_asset_with_proj_geometry_is_more_than_stac_geoparquet_can_read(tmp_path: Path):
    items = [item("a", assets={"a": {"href": "a", "proj:geometry": SQUARE}}), item("b")]
    write(items, tmp_path / "f.parquet")
    assert list(read_geoparquet(tmp_path / "f.parquet")) == items
    with pytest.raises(AttributeError, match="__geo_interface__"):
        read_reference(tmp_path / "f.parquet")


def test_a_geometry_keeps_only_type_and_coordinates(tmp_path: Path):
    made = item(top={"geometry": {**SQUARE, "crs": {"type": "name"}}}, **{"proj:geometry": {**SQUARE, "bbox": [0]}})
    ours, theirs = trip(tmp_path, made)
    assert (ours["geometry"], ours["properties"]["proj:geometry"]) == (SQUARE, SQUARE)
    assert same_after_parquet(made, theirs) is None


async def test_files_of_stac_geoparquet_and_rustac_are_read_too(tmp_path: Path):
    top = {"stac_version": "1.1.0", "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"]}
    items = [item("a", v=1, top=top), item("b", v=2, updated="2024-01-31T10:00:00.123Z", top=top)]
    parse_stac_items_to_parquet(items, output_path=tmp_path / "reference.parquet", schema="FullFile")
    await rustac.write(str(tmp_path / "rustac.parquet"), items)
    for name in ("reference.parquet", "rustac.parquet"):
        found = list(read_geoparquet(tmp_path / name))
        assert [same_after_parquet(*pair) for pair in zip(items, found, strict=True)] == [None, None], name


def test_nulls_that_stop_stac_geoparquet_are_read(tmp_path: Path):
    write([item("a"), item("b")], tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    nulls = {
        "geometry": pa.array([table["geometry"][0].as_py(), None]),
        "bbox": pa.array([table["bbox"][0].as_py(), None]),
        "datetime": pa.array([None, datetime(2024, 1, 1)]),
    }
    for name, column in nulls.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "nulls.parquet")
    first, second = read_geoparquet(tmp_path / "nulls.parquet")
    assert (first["geometry"]["type"], second["geometry"]) == ("Polygon", None)
    assert "bbox" not in second
    assert second["properties"] == {"datetime": "2024-01-01T00:00:00Z"}


def test_a_form_is_its_own_form():
    made = item(holder={}, top={"foo": 1, "geometry": {**SQUARE, "crs": 1}}, updated="2024-01-31T12:30:00+02:30")
    assert parquet_form(parquet_form(made)) == parquet_form(made)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v": [1, {"a": "y"}]}, 'properties.v[1].a: "x" became "y"'),
        ({"v": [1]}, 'properties.v: [1,{"a":"x"}] became [1]'),
        ({"v": None}, 'properties.v: [1,{"a":"x"}] became null'),
        ({"v": [True, {"a": "x"}]}, "properties.v[0]: 1 became true"),
        ({"datetime": "2024-01-31T10:00:01Z"}, 'properties.datetime: "2024-01-31T10:00:00Z" became "2024-01-31T10'),
        ({"more": "x" * 200}, 'properties.more: null became "' + "x" * 79 + "…"),
    ],
)
def test_every_other_difference_is_named(change: dict, said: str):
    made = item(v=[1, {"a": "x"}])
    found = same_after_parquet(made, changed(made, **change))
    assert found is not None
    assert found.startswith(said)
    assert "\n" not in found


def test_a_reversed_ring_is_a_difference():
    reversed_ring = {"type": "Polygon", "coordinates": [SQUARE["coordinates"][0][::-1]]}
    found = same_after_parquet(item(), item(top={"geometry": reversed_ring}))
    assert found == "geometry.coordinates[0][1][0]: 11 became 10"
