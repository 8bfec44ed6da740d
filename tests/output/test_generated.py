"""Generated items: whatever JSON holds comes back the same, or its item is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stac_manager.items import Item
from stac_manager.output import parquet_form, read_geoparquet, same_after_parquet
from stac_manager.output.geoparquet import writer as geoparquet
from stac_manager.output.geoparquet.rows import TIMES
from tests.output.make import item, read_reference, write

NAMES = st.sampled_from(["a", "b", "eo:bands", "a.b", "[]", "", "ß", "id", "properties"]) | st.text(max_size=3)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63])
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
TIMES_TEXT = st.datetimes().map(lambda t: t.isoformat() + "Z") | st.just("2024-01-01T00:00:00+01:00") | st.none()
POSITION = st.tuples(st.floats(-180, 180), st.floats(-90, 90)).map(list)
GEOMETRIES = st.one_of(
    st.builds(lambda c: {"type": "Point", "coordinates": c}, POSITION),
    st.builds(lambda c: {"type": "MultiPoint", "coordinates": c}, st.lists(POSITION, min_size=1, max_size=3)),
    st.builds(lambda c: {"type": "LineString", "coordinates": c}, st.lists(POSITION, min_size=2, max_size=4)),
    st.builds(lambda c: {"type": "Polygon", "coordinates": [[*c, c[0]]]}, st.lists(POSITION, min_size=3, max_size=5)),
    st.builds(
        lambda c: {"type": "MultiPolygon", "coordinates": [[[*c, c[0]]]]}, st.lists(POSITION, min_size=3, max_size=4)
    ),
    st.none(),
)
ASSET = st.builds(
    lambda more, geometry: {**more, "href": "x", **geometry},
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.just({}) | GEOMETRIES.map(lambda geometry: {"proj:geometry": geometry}),
)


@st.composite
def items(draw: st.DrawFn) -> Item:
    properties = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    properties |= draw(st.dictionaries(st.sampled_from(sorted(TIMES)), TIMES_TEXT, max_size=3))
    if draw(st.booleans()):
        properties["proj:geometry"] = draw(GEOMETRIES)
    top: dict[str, Any] = {"geometry": draw(GEOMETRIES), **draw(st.dictionaries(st.sampled_from(["x", "a"]), VALUES))}
    made = item(draw(st.text(min_size=1, max_size=4)), assets={"data": draw(ASSET)}, top=top)
    made["properties"] = properties
    return made


UNHURRIED = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@UNHURRIED
@given(st.lists(items(), min_size=1, max_size=6), st.sampled_from([1, 2, 1000]))
def test_what_is_written_is_what_is_read(monkeypatch: pytest.MonkeyPatch, made: list[Item], chunk: int):
    monkeypatch.setattr(geoparquet, "_CHUNK_ROWS", chunk)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.parquet"
        result = write(made, path)
        gone = {id(rejection.source_data) for rejection in result.rejected}
        kept = [one for one in made if id(one) not in gone]
        assert result.rows == len(kept)
        assert list(read_geoparquet(path)) == [parquet_form(one) for one in kept]
        assert [same_after_parquet(*pair) for pair in zip(kept, read_reference(path), strict=True)] == [None] * len(
            kept
        )


@UNHURRIED
@given(st.lists(items(), min_size=2, max_size=6))
def test_neither_schema_nor_refusals_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, made: list[Item]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.parquet"
        found = []
        for chunk in (1, 1000):
            monkeypatch.setattr(geoparquet, "_CHUNK_ROWS", chunk)
            rejected = [
                (id(rejection.source_data), rejection.error_message) for rejection in write(made, path).rejected
            ]
            found.append((rejected, pq.read_schema(path)))
        assert found[0] == found[1]
