"""The file: its columns, its metadata, its bytes, and what happens when items disagree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jsonschema_rs
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stac_manager.errors import OutputError
from stac_manager.output import read_geoparquet, same_after_parquet, write_geoparquet
from stac_manager.output.geoparquet import writer as geoparquet
from tests.output.make import SQUARE, item, read_reference, rejected_items, write


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def columns(path: Path) -> dict[str, pa.DataType]:
    schema = pq.read_schema(path)
    return dict(zip(schema.names, schema.types, strict=True))


def test_columns_are_the_members_of_an_item_then_its_properties_by_name(tmp_path: Path):
    result = write([item(b=1, a=2), item("b", c=True)], tmp_path / "f.parquet")
    names = list(columns(tmp_path / "f.parquet"))
    top = ["type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection"]
    assert names == [*top, "a", "b", "c", "datetime"]
    assert (result.rows, result.rejected, result.columns) == (2, [], len(names))


def test_columns_have_the_types_of_the_format(tmp_path: Path):
    made = item(created="2024-02-01T00:00:00Z", count=1, ratio=0.5, **{"proj:geometry": SQUARE})
    write([made], tmp_path / "f.parquet")
    types = columns(tmp_path / "f.parquet")
    assert types["geometry"] == types["proj:geometry"] == pa.binary()
    assert types["bbox"] == pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
    assert types["datetime"] == types["created"] == pa.timestamp("us", tz="UTC")
    assert (types["count"], types["ratio"]) == (pa.int64(), pa.float64())
    assert types["assets"] == pa.struct([("data", pa.struct([("href", pa.string())]))])


def test_the_geometry_field_is_tagged_as_geoarrow_wkb(tmp_path: Path):
    write([item()], tmp_path / "f.parquet")
    metadata = pq.read_schema(tmp_path / "f.parquet").field("geometry").metadata
    assert metadata[b"ARROW:extension:name"] == b"geoarrow.wkb"
    assert orjson.loads(metadata[b"ARROW:extension:metadata"])["crs"]["id"] == {"authority": "EPSG", "code": 4326}


def test_metadata_is_valid_and_holds_the_collection(tmp_path: Path, schema_dir: Path):
    collection = {"type": "Collection", "id": "things", "description": "Größe"}
    write([item()], tmp_path / "f.parquet", collection=collection)
    found = orjson.loads(pq.read_metadata(tmp_path / "f.parquet").metadata[b"stac-geoparquet"])
    schema = schema_dir / "radiantearth.github.io/stac-geoparquet-spec/0.7.0/json-schema/metadata.json"
    jsonschema_rs.validate(orjson.loads(schema.read_bytes()), found)
    assert found == {"version": "1.0.0", "collections": {"things": collection}}


def geo(path: Path) -> dict:
    return orjson.loads(pq.read_metadata(path).metadata[b"geo"])


def test_geo_metadata_tells_the_true_types_and_extent(tmp_path: Path):
    point = {"type": "Point", "coordinates": [-170.5, 80, 12.5]}
    items = [item(), item("p", top={"geometry": point, "bbox": [-170.5, 80, -170.5, 80]})]
    write(items, tmp_path / "f.parquet")
    found = geo(tmp_path / "f.parquet")
    column = found["columns"]["geometry"]
    assert (found["version"], found["primary_column"]) == ("1.1.0", "geometry")
    assert column["geometry_types"] == ["Point Z", "Polygon"]
    assert column["bbox"] == [-170.5, 45.0, 12.5, 11.0, 80.0, 12.5]
    assert column["covering"]["bbox"]["ymax"] == ["bbox", "ymax"]


def test_a_projected_geometry_has_an_unknown_crs(tmp_path: Path):
    write([item(**{"proj:geometry": SQUARE})], tmp_path / "f.parquet")
    column = geo(tmp_path / "f.parquet")["columns"]["proj:geometry"]
    assert column == {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}


def test_no_items_make_a_file_without_rows(tmp_path: Path):
    assert write([], tmp_path / "f.parquet").rows == 0
    assert list(read_geoparquet(tmp_path / "f.parquet")) == read_reference(tmp_path / "f.parquet") == []
    assert "bbox" not in geo(tmp_path / "f.parquet")["columns"]["geometry"]


def test_the_same_items_give_the_same_bytes(tmp_path: Path):
    items = [item(f"i{number}", value=number / 7, tags=["x", "y"]) for number in range(2500)]
    write(items, tmp_path / "one.parquet")
    write(orjson.loads(orjson.dumps(items)), tmp_path / "two.parquet")
    assert digest(tmp_path / "one.parquet") == digest(tmp_path / "two.parquet")


def test_refused_items_leave_no_trace(tmp_path: Path):
    good = [item(f"g{number}", value=number) for number in range(1500)]
    bad = [
        item("null", top={"geometry": None}, only_here=1),
        item("text", value="seven", only_here=1),
        item("huge", value=2**63, only_here=1),
    ]
    write(good, tmp_path / "good.parquet")
    result = write([bad[0], *good[:1100], *bad[1:], *good[1100:]], tmp_path / "all.parquet")
    assert [rejection.item_id for rejection in result.rejected] == ["null", "text", "huge"]
    assert digest(tmp_path / "good.parquet") == digest(tmp_path / "all.parquet")


def test_a_refusal_carries_the_item_and_the_stage(tmp_path: Path):
    bad = item("x", top={"geometry": None})
    (rejection,) = write([item(), bad], tmp_path / "f.parquet").rejected
    assert (rejection.item_id, rejection.step, rejection.source_data) == ("x", "published", bad)


def test_one_pass_is_enough_when_the_first_chunk_shows_everything(tmp_path: Path):
    calls = []

    def items():
        calls.append(1)
        return (item(f"i{number}", value=number) for number in range(2500))

    assert write_geoparquet(items, tmp_path / "f.parquet").rows == 2500
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("late", "kind"),
    [({"value": 0.5}, pa.float64()), ({"value": None}, pa.int64()), ({}, pa.int64())],
    ids=["float", "null", "absent"],
)
def test_a_type_that_widens_at_the_last_item_widens_the_column(tmp_path: Path, late: dict, kind: pa.DataType):
    items = [item(f"i{number}", value=number) for number in range(2001)] + [item("last", **late)]
    result = write(items, tmp_path / "f.parquet")
    assert (result.rows, result.rejected) == (2002, [])
    assert columns(tmp_path / "f.parquet")["value"] == kind
    pairs = zip(items, read_reference(tmp_path / "f.parquet"), strict=True)
    assert {same_after_parquet(*pair) for pair in pairs} == {None}


def test_a_column_that_appears_at_the_last_item_is_there_for_all(tmp_path: Path):
    assets = {"data": {"href": "a"}, "extra": {"href": "b", "proj:geometry": SQUARE, "roles": ["data"]}}
    items = [item(f"i{number}") for number in range(1001)] + [item("last", assets=assets, new={"deep": [1]})]
    assert write(items, tmp_path / "f.parquet").rows == 1002
    found = list(read_geoparquet(tmp_path / "f.parquet"))
    assert "new" not in found[0]["properties"]
    assert same_after_parquet(items[-1], found[-1]) is None


def test_a_type_that_changes_at_the_last_item_refuses_that_item_only(tmp_path: Path):
    items = [item(f"i{number}", value=number) for number in range(2001)] + [item("last", value="late")]
    result = write(items, tmp_path / "f.parquet")
    assert result.rows == 2001
    message = "`properties.value` is a string; the column is a number, as in most items"
    assert rejected_items(result) == {"last": ("ParquetTypeConflict", message)}


def test_the_type_of_most_items_wins_even_when_it_comes_late(tmp_path: Path):
    items = [item(f"t{number}", value="text") for number in range(1000)]
    items += [item(f"n{number}", value=number) for number in range(1001)]
    result = write(items, tmp_path / "f.parquet")
    assert {rejection.item_id[0] for rejection in result.rejected} == {"t"}
    assert (result.rows, columns(tmp_path / "f.parquet")["value"]) == (1001, pa.int64())


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [
        (1, "x", "x"),
        (True, 1, 1),
        ([1], True, True),
        ({"a": 1}, [1], [1]),
        ("x", ["x"], "x"),
        (0.5, 2**53 + 1, 0.5),
    ],
)
def test_a_tie_goes_to_the_first_in_the_fixed_order(tmp_path: Path, one: object, other: object, winner: object):
    result = write([item("one", v=one), item("other", v=other)], tmp_path / "f.parquet")
    assert result.rows == len(result.rejected) == 1
    (found,) = read_geoparquet(tmp_path / "f.parquet")
    assert found["properties"]["v"] == winner


def test_elements_of_lists_and_members_of_objects_have_types_too(tmp_path: Path):
    items = [
        item("a", v=[1, 2], bands=[{"name": "B1", "nodata": 0}]),
        item("b", v=[1, None, 2.5], bands=[{"name": "B1", "nodata": 0.5}, {"gsd": 10}]),
        item("c", v=[], bands=[]),
        item("d", v=[1, "x"], bands=[{"name": "B1"}]),
        item("e", v=[1], bands=[{"name": "B1", "nodata": "nan"}]),
    ]
    result = write(items, tmp_path / "f.parquet")
    assert rejected_items(result) == {
        "d": ("ParquetTypeConflict", "`properties.v[]` is a string; the column is a number, as in most items"),
        "e": (
            "ParquetTypeConflict",
            "`properties.bands[].nodata` is a string; the column is a number, as in most items",
        ),
    }
    assert [found["properties"]["v"] for found in read_geoparquet(tmp_path / "f.parquet")] == [
        [1, 2],
        [1, None, 2.5],
        [],
    ]


def test_items_refused_in_one_field_do_not_vote_in_the_next(tmp_path: Path):
    items = [
        item("a", first=1, second=1),
        item("b", first=1, second=1),
        item("c", first=1),
        item("d", first="x", second="x"),
        item("e", first="x", second="x"),
        item("f", second="x"),
    ]
    result = write(items, tmp_path / "f.parquet")
    assert sorted(rejected_items(result)) == ["d", "e", "f"]
    assert rejected_items(result)["f"][1].startswith("`properties.second` is a string; the column is a number")


def test_integers_beside_floats_stay_exact_or_are_refused(tmp_path: Path):
    items = [item("edge", v=2**53), item("over", v=2**53 + 1), item("f", v=0.5), item("g", v=1e300), item("h", v=3)]
    result = write(items, tmp_path / "f.parquet")
    message = "`properties.v` is an integer beyond 2^53; the column is a float, as in most items"
    assert rejected_items(result) == {"over": ("ParquetTypeConflict", message)}
    assert [found["properties"]["v"] for found in read_geoparquet(tmp_path / "f.parquet")] == [2**53, 0.5, 1e300, 3]


def test_large_integers_among_many_win_over_one_float(tmp_path: Path):
    items = [item(f"i{number}", v=2**60 + number) for number in range(3)] + [item("f", v=0.5)]
    result = write(items, tmp_path / "f.parquet")
    assert list(rejected_items(result)) == ["f"]
    assert next(read_geoparquet(tmp_path / "f.parquet"))["properties"]["v"] == 2**60


def test_a_large_integer_that_comes_late_into_a_column_of_floats_is_found(tmp_path: Path):
    items = [item(f"i{number}", v=[number + 0.5]) for number in range(1500)] + [item("late", v=[2**53 + 1])]
    assert list(rejected_items(write(items, tmp_path / "f.parquet"))) == ["late"]


def test_a_large_integer_between_small_ones_and_floats_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(geoparquet, "_CHUNK_ROWS", 1)
    items = [item("small", v=1), item("large", v=2**60), item("f", v=0.5), item("g", v=0.25)]
    assert list(rejected_items(write(items, tmp_path / "f.parquet"))) == ["large"]
    assert [found["properties"]["v"] for found in read_geoparquet(tmp_path / "f.parquet")] == [1, 0.5, 0.25]


def test_large_floats_are_not_mistaken_for_integers(tmp_path: Path):
    items = [item(f"i{number}", v=number + 0.5) for number in range(1001)] + [item("late", v=9007199254740994.0)]
    items += [item("nodata", v=-3.4028234663852886e38)]
    result = write(items, tmp_path / "f.parquet")
    assert (result.rows, result.rejected) == (1003, [])


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64 - 1])
def test_integers_beyond_64_bits_are_refused(tmp_path: Path, number: int):
    result = write([item("ok", v=2**63 - 1), item("huge", v=number)], tmp_path / "f.parquet")
    assert list(rejected_items(result)) == ["huge"]
    assert rejected_items(result)["huge"][0] in ("ParquetTypeConflict", "InvalidItem")


def test_the_bbox_has_the_size_of_most_items(tmp_path: Path):
    flat, deep = [10, 45, 11, 46.5], [10, 45, -5, 11, 46.5, 300.5]
    items = [item("a", top={"bbox": deep}), item("b", top={"bbox": flat}), item("c", top={"bbox": deep})]
    result = write(items, tmp_path / "f.parquet")
    message = "`bbox` is a bbox of 4; the column is a bbox of 6, as in most items"
    assert rejected_items(result) == {"b": ("ParquetTypeConflict", message)}
    assert [found["bbox"] for found in read_reference(tmp_path / "f.parquet")] == [deep, deep]
    assert geo(tmp_path / "f.parquet")["columns"]["geometry"]["covering"]["bbox"]["zmin"] == ["bbox", "zmin"]


@pytest.mark.parametrize(
    "late",
    [
        {"assets": {"data": {"href": "a", "proj:geometry": SQUARE}}},
        {"proj:geometry": SQUARE},
        {"updated": "2024-01-01T00:00:00Z"},
        {"thing": {}},
        {"big": 2**63, "thing": 1},
        {"top": {"bbox": [10, 45, 0, 11, 46.5, 9]}},
    ],
    ids=["asset-geometry", "geometry", "time", "empty-object", "refused", "bbox"],
)
def test_nothing_that_comes_late_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: dict):
    monkeypatch.setattr(geoparquet, "_CHUNK_ROWS", 2)
    items = [item("a"), item("b"), item("late", **late), item("c"), item("new", column=1), item("d")]
    result = write(items, tmp_path / "f.parquet")
    gone = [rejection.source_data["id"] for rejection in result.rejected]
    kept = [made for made in items if made["id"] not in gone]
    assert gone == (["late"] if "big" in late or "top" in late else [])
    pairs = zip(kept, read_reference(tmp_path / "f.parquet"), strict=True)
    assert [found for pair in pairs if (found := same_after_parquet(*pair))] == []


def test_a_flat_bbox_among_deep_ones_is_refused_in_any_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(geoparquet, "_CHUNK_ROWS", 2)
    deep = {"bbox": [10, 45, 0, 11, 46.5, 9]}
    items = [item("a", top=deep), item("b", top=deep), item("flat"), item("c", top=deep)]
    assert list(rejected_items(write(items, tmp_path / "f.parquet"))) == ["flat"]
    assert len(read_reference(tmp_path / "f.parquet")) == 3


def test_items_that_change_between_two_readings_are_an_error(tmp_path: Path):
    calls = []

    def items():
        calls.append(1)
        return [item("a", v=1), item("b", v="x")] if len(calls) == 1 else [item("a", v=1)]

    with pytest.raises(OutputError, match="were not the same when they were read again"):
        write_geoparquet(items, tmp_path / "f.parquet")


def test_items_that_grow_with_each_reading_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(geoparquet, "_CHUNK_ROWS", 1)
    calls = []

    def items():
        calls.append(1)
        return [item("a"), item("b", **{f"new{len(calls)}": 1})]

    with pytest.raises(OutputError, match="were not the same"):
        write_geoparquet(items, tmp_path / "f.parquet")
    assert len(calls) == 2


def test_chunks_are_cut_by_size_as_well_as_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    items = [item(f"i{number}", text="x" * 1000) for number in range(20)]
    write(items, tmp_path / "whole.parquet")
    monkeypatch.setattr(geoparquet, "_CHUNK_BYTES", 3000)
    write(items, tmp_path / "cut.parquet")
    assert list(read_geoparquet(tmp_path / "cut.parquet")) == list(read_geoparquet(tmp_path / "whole.parquet"))


def test_one_item_larger_than_a_parser_block_is_no_problem(tmp_path: Path):
    large = item("large", text="x" * (9 << 20))
    assert write([item(), large, item("b")], tmp_path / "f.parquet").rows == 3
    assert len(list(read_geoparquet(tmp_path / "f.parquet"))[1]["properties"]["text"]) == 9 << 20
