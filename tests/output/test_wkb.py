from __future__ import annotations

import orjson
import pytest
import shapely

from stac_manager.output.geoparquet.wkb import EMPTY_POLYGON, geojson_to_wkb

GEOMETRIES = [
    "POINT (1 2)",
    "POINT Z (1 2 3)",
    "LINESTRING (0 0, 1.5 1e-300)",
    "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 1 2, 2 2, 1 1))",
    "POLYGON Z ((0 0 1, 4 0 1, 4 4 1, 0 0 1))",
    "MULTIPOINT ((1 2), (3 4))",
    "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3, 4 4))",
    "MULTIPOLYGON (((179 0, 180 0, 180 1, 179 0)), ((-180 0, -179 0, -179 1, -180 0)))",
]


@pytest.mark.parametrize("text", GEOMETRIES)
def test_the_bytes_are_those_of_shapely(text: str):
    geometry = shapely.from_wkt(text)
    geojson = orjson.loads(orjson.dumps(shapely.geometry.mapping(geometry)))
    assert geojson_to_wkb(geojson) == shapely.to_wkb(geometry, flavor="iso", byte_order=1)


def test_a_ring_keeps_its_direction_and_its_first_position():
    clockwise = {"type": "Polygon", "coordinates": [[[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]]}
    mapped = shapely.geometry.mapping(shapely.from_wkb(geojson_to_wkb(clockwise)))
    assert orjson.loads(orjson.dumps(mapped)) == clockwise


def test_no_coordinates_are_no_geometry():
    assert geojson_to_wkb({"type": "Polygon", "coordinates": []}) is None
    assert shapely.from_wkb(EMPTY_POLYGON) == shapely.Polygon()


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ("POINT (1 2)", "is not a GeoJSON geometry"),
        ({"type": "Feature", "coordinates": [1, 2]}, "is a 'Feature'"),
        ({"type": "GeometryCollection", "geometries": []}, "is a 'GeometryCollection'"),
        ({"type": "Point"}, "has no list of coordinates"),
        ({"type": "Point", "coordinates": [1]}, "has positions of 1 numbers"),
        ({"type": "Point", "coordinates": [1, 2, 3, 4]}, "has positions of 4 numbers"),
        ({"type": "Point", "coordinates": [1, "2"]}, "has a coordinate that is not a number"),
        ({"type": "Point", "coordinates": [1, True]}, "has a coordinate that is not a number"),
        ({"type": "Point", "coordinates": [1, None]}, "has a coordinate that is not a number"),
        ({"type": "Point", "coordinates": [1, 2**53 + 1]}, "has a coordinate beyond what a double holds exactly"),
        ({"type": "LineString", "coordinates": [[1, 2]]}, "has a line of fewer than two positions"),
        ({"type": "LineString", "coordinates": [[1, 2, 3], [1, 2]]}, "mixes positions of two and of three numbers"),
        ({"type": "LineString", "coordinates": [1, 2]}, "has coordinates that are not those of a LineString"),
        ({"type": "Polygon", "coordinates": [[]]}, "has an empty part"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}, "has a ring that is not closed"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]}, "or has fewer than four positions"),
        ({"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0], [1, 1], [0, 0]]], []]}, "has an empty part"),
    ],
)
def test_what_wkb_cannot_hold_exactly_is_refused(geometry: object, reason: str):
    with pytest.raises(ValueError, match=reason):
        geojson_to_wkb(geometry)
