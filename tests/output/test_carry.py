"""A file made from an earlier one and the changed items has the bytes of a file made from all items."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stac_manager.items import Item, content_hash, loads
from stac_manager.output.geoparquet import EarlierWrite, GeoParquetResult, row_groups, write_geoparquet, writer
from stac_manager.output.geoparquet.rows import row_of
from tests.output.make import SQUARE, item

POINT = {"type": "Point", "coordinates": [1.5, 2]}
HIGH_POINT = {"type": "Point", "coordinates": [1.5, 2, 3]}
VALUES: list[Any] = [
    None,
    1,
    2**53 + 1,
    1.0,
    1.5,
    "x",
    True,
    {},
    {"b": 1},
    {"b": None},
    {"b": 1.5, "c": "x"},
    {"b": {}},
]
VALUES += [[], [None], [1], [1.5], [2**60], ["x"], [{}], [{"b": 1}], [{"b": None}, {"b": 2.0}], [[]], [[1]], 2**63]
TIMES: list[Any] = [None, "2024-01-01T00:00:00Z", "no time"]
PROJECTED: list[Any] = [None, POINT, {"type": "Polygon", "coordinates": []}, SQUARE]
GEOMETRIES: list[Any] = [POINT, HIGH_POINT, SQUARE, None]
BBOXES = [[1, 2, 3, 4], [1.5, 2, 3, 4], [1, 2, 0, 3, 4, 9]]
ABSENT = object()


ALIKE: list[list[Any]] = [
    [1, 2],
    [1, 2, 2**60],
    [1.5, 2.0, 3],
    ["x", "y", None],
    [{"b": 1}, {"b": 2, "c": "x"}, {}],
    [{"b": 1.5}, {"b": 2.0}, {"b": None}],
    [[1, 2], [], [3]],
    [[{"b": 1.5}], [{"b": 2}], None],
    [True, False, ABSENT],
]
"""Values of one type, as the items of a real collection have them."""


def palette(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    """Few values, so that most items have a common shape."""
    alike = st.sampled_from(ALIKE if values is VALUES else [values[1:2], [*values[1:2], ABSENT]])
    return alike | alike | alike | st.lists(st.sampled_from([*values, ABSENT]), min_size=1, max_size=3)


PALETTES = st.fixed_dictionaries(
    {
        "a": palette(VALUES),
        "b": palette(VALUES),
        "updated": palette(TIMES),
        "proj:geometry": palette(PROJECTED),
        "asset a": palette(VALUES),
        "asset proj:geometry": palette(PROJECTED),
        "top": palette(VALUES),
        "geometry": st.just(GEOMETRIES[:3]) | st.lists(st.sampled_from(GEOMETRIES), min_size=1, max_size=2),
        "bbox": st.just(BBOXES[:2]) | st.just(BBOXES[2:]) | st.just(BBOXES),
    }
)


@st.composite
def made_items(draw: st.DrawFn, palettes: dict[str, list[Any]], item_id: str) -> Item:
    drawn = {name: draw(st.sampled_from(values)) for name, values in palettes.items()}
    drawn = {name: value for name, value in drawn.items() if value is not ABSENT}
    asset = {"href": "x", **{name[6:]: drawn.pop(name) for name in list(drawn) if name.startswith("asset ")}}
    top = {name: drawn.pop(name) for name in ("geometry", "bbox")}
    top |= {"top": drawn.pop("top")} if "top" in drawn else {}
    assets = draw(st.sampled_from([{}, {"data": asset}, {"data": asset, "more": {"href": "y"}}]))
    return item(item_id, assets=assets, top=top, **drawn)


@st.composite
def generations(draw: st.DrawFn) -> tuple[list[Item], list[Item]]:
    """The items of a partition before and after some of them were added, modified and deleted."""
    palettes = draw(PALETTES)
    ids = sorted(draw(st.sets(st.text("abcdé\U0001f600", min_size=1, max_size=2), min_size=3, max_size=12)))
    before = {item_id: draw(made_items(palettes, item_id)) for item_id in ids}
    after = dict(before)
    for _ in range(draw(st.integers(0, max(1, len(ids) // 3)))):
        item_id = draw(st.sampled_from([*ids, "new", "zz", "0"]))
        if draw(st.booleans()):
            after[item_id] = draw(made_items(palettes, item_id))
        else:
            after.pop(item_id, None)
    return [before[key] for key in sorted(before)], [after[key] for key in sorted(after)]


def write(items: list[Item], path: Path, doubles: Collection[str] = (), **options: Any) -> GeoParquetResult:
    return write_geoparquet(lambda: items, path, collection={"id": "c"}, doubles=doubles, **options)


def earlier_write(before: list[Item], result: GeoParquetResult, path: Path, after: list[Item]) -> EarlierWrite:
    gone = {rejection.item_id for rejection in result.rejected}
    old = {one["id"]: content_hash(one) for one in before if one["id"] not in gone}
    new = {one["id"]: content_hash(one) for one in after}
    changed = frozenset(item_id for item_id, digest in new.items() if old.get(item_id) != digest)

    def some_items(wanted: Collection[str]) -> Iterator[Item]:
        return (one for one in after if one["id"] in wanted)

    return EarlierWrite(path, result.numbers, changed, frozenset(old.keys() - new.keys()), some_items)


def facts(result: GeoParquetResult) -> tuple[Any, ...]:
    rejected = [(one.item_id, one.error_type, one.error_message, one.source_data) for one in result.rejected]
    return (result.rows, rejected, result.columns, result.numbers, result.fingerprint, result.checksum)


UNHURRIED = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@UNHURRIED
@given(
    made=generations(),
    rows=st.sampled_from([1, 2, 3, 1000]),
    size=st.sampled_from([1, 2000, 64 << 20]),
    doubles=st.tuples(*2 * [st.sets(st.sampled_from(["/a", "/b", "/a/b", "/a/*", "/top", "/assets/data/a"]))]),
)
def test_an_earlier_file_saves_work_and_changes_no_byte(
    monkeypatch: pytest.MonkeyPatch,
    made: tuple[list[Item], list[Item]],
    rows: int,
    size: int,
    doubles: tuple[set[str], set[str]],
):
    monkeypatch.setattr(row_groups, "_BLOCK_ROWS", rows)
    monkeypatch.setattr(row_groups, "_ROW_GROUP_BYTES", size)
    before, after = made
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = write(before, folder / "before", doubles[0])
        full = write(after, folder / "full", doubles[1])
        monkeypatch.setattr(writer, "_CHUNK_ROWS", 2)
        earlier = earlier_write(before, first, folder / "before", after) if first.rows else None
        incremental = write(after, folder / "incremental", doubles[1], earlier=earlier)
        assert facts(incremental) == facts(full)
        assert (folder / "incremental").read_bytes() == (folder / "full").read_bytes()


def test_real_items_are_converted_only_where_they_changed(
    monkeypatch: pytest.MonkeyPatch, corpus_dir: Path, tmp_path: Path
):
    taken, fully = 0, 0
    for name, found in sorted(real_items(corpus_dir).items()):
        before = [found[item_id] for item_id in sorted(found)]
        middle = before[len(before) // 2]
        changed = {**middle, "properties": {**middle["properties"], "title": "another"}}
        after = [changed if one is middle else one for one in before if one is not before[0]]
        before = [
            {**one, "properties": {**one["properties"], "title": "one"}} if one is middle else one for one in before
        ]
        first, full = write(before, tmp_path / "before"), write(after, tmp_path / "full")
        rows: list[Item] = []
        monkeypatch.setattr(writer, "row_of", lambda one, rows=rows: rows.append(one) or row_of(one))
        incremental = write(
            after,
            tmp_path / "incremental",
            earlier=earlier_write(before, first, tmp_path / "before", after) if first.rows else None,
        )
        monkeypatch.undo()
        assert facts(incremental) == facts(full), name
        assert (tmp_path / "incremental").read_bytes() == (tmp_path / "full").read_bytes(), name
        taken += len(rows) < len(after)
        fully += len(rows) >= len(after)
    assert taken > 3 * fully


def real_items(corpus_dir: Path) -> dict[str, dict[str, Item]]:
    """Up to 60 items of each collection by id, where there are enough to leave most as they are."""
    found: dict[str, dict[str, Item]] = {}
    for path in sorted(corpus_dir.glob("*/items.ndjson")):
        for made in map(loads, path.read_bytes().splitlines()):
            group = found.setdefault(f"{path.parent.name}/{made.get('collection')}", {})
            if isinstance(made.get("id"), str) and isinstance(made.get("properties"), dict) and len(group) < 60:
                group[made["id"]] = made
    return {name: group for name, group in found.items() if len(group) >= 40}
