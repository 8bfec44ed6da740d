"""Invented Sentinel-2 scenes over the Alps, on real MGRS tiles and relative orbits; the same seed gives the same items.

Footprints are tiles cut by the swath, as in reality. A few items are broken on purpose, each in another way, so that
quarantine is not empty.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyproj
import shapely
from shapely.geometry import mapping

__all__ = ["COLLECTIONS", "MOSAICS", "SCENES", "demo_items"]

SCENES = "sentinel-2-alps"
MOSAICS = "sentinel-2-alps-mosaics"
PROFILE = "https://stac-manager.example/alps-scenes/v1.0.0/schema.json"
FIRST_DAY = datetime(2025, 3, 1, tzinfo=UTC)
LAST_DAY = datetime(2025, 8, 31, tzinfo=UTC)

_TILE_SIZE = 109_800
_COLUMNS = {"L": 300_000, "M": 399_960, "N": 499_980, "P": 600_000, "Q": 699_960}
_ROWS = {"R": 5_100_000, "S": 5_200_020, "T": 5_300_040}
_BANDS = {"blue": ("B02", 10), "green": ("B03", 10), "red": ("B04", 10), "nir": ("B08", 10), "swir16": ("B11", 20)}


@dataclass(frozen=True)
class Orbit:
    """The descending part of a relative orbit over the Alps."""

    number: int
    centre: float
    """Longitude of the ground track at 46.5° N."""
    first_pass: datetime
    """The first pass of Sentinel-2A; 2B follows five days later."""

    @property
    def swath(self) -> shapely.Polygon:
        """The 290 km wide strip, in degrees, inclined like a descending track."""
        half, lean = 1.89, 0.29
        edges = [(48.5, half), (48.5, -half), (44.5, -half), (44.5, half)]
        return shapely.Polygon([(self.centre + side + lean * (lat - 46.5), lat) for lat, side in edges])


ORBITS = [
    Orbit(108, 7.3, datetime(2025, 3, 3, 10, 30, 31, tzinfo=UTC)),
    Orbit(65, 9.7, datetime(2025, 3, 5, 10, 20, 21, tzinfo=UTC)),
    Orbit(22, 12.2, datetime(2025, 3, 2, 10, 10, 11, tzinfo=UTC)),
]


def _tiles() -> dict[str, shapely.Polygon]:
    to_degrees = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    tiles = {}
    for column, left in _COLUMNS.items():
        for row, top in _ROWS.items():
            right, bottom = left + _TILE_SIZE, top - _TILE_SIZE
            corners = [(left, top), (left, bottom), (right, bottom), (right, top)]
            tiles[f"32T{column}{row}"] = shapely.Polygon([to_degrees.transform(x, y) for x, y in corners])
    return tiles


def _scenes() -> Iterator[dict[str, Any]]:
    chance = random.Random(20250301)
    tiles = _tiles()
    for orbit in ORBITS:
        for number in range(60):
            taken = orbit.first_pass + timedelta(days=5 * number)
            if taken > LAST_DAY:
                break
            sky = chance.betavariate(0.6, 0.8) * 100
            for row, (name, tile) in enumerate(tiles.items()):
                footprint = tile.intersection(orbit.swath)
                if footprint.area > 0.05 * tile.area:
                    instant = taken + timedelta(seconds=14 * (row % 3), milliseconds=chance.randrange(1000))
                    yield _scene(orbit, "ab"[number % 2], name, footprint, instant, sky, chance)


def _geometry(polygon: shapely.Polygon) -> tuple[dict[str, Any], list[float]]:
    rounded = shapely.set_precision(polygon, 1e-6)
    ring = shapely.geometry.polygon.orient(rounded)
    return dict(mapping(ring)), [round(value, 6) for value in ring.bounds]


def _scene(
    orbit: Orbit,
    satellite: str,
    tile: str,
    footprint: shapely.Polygon,
    taken: datetime,
    sky: float,
    chance: random.Random,
) -> dict[str, Any]:
    item_id = f"S2{satellite.upper()}_{tile}_{taken:%Y%m%d}_0_L2A"
    geometry, bbox = _geometry(footprint)
    day_of_year = taken.timetuple().tm_yday
    sun = 43.5 + 23.4 * math.sin(2 * math.pi * (day_of_year - 81) / 365)
    made = taken + timedelta(hours=chance.randrange(4, 30), minutes=chance.randrange(60))
    properties: dict[str, Any] = {
        "datetime": _text(taken),
        "created": _text(made),
        "updated": _text(made),
        "platform": f"sentinel-2{satellite}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "eo:cloud_cover": round(min(100.0, max(0.0, sky + chance.gauss(0, 12))), 2),
        "eo:snow_cover": round(max(0.0, 40 - day_of_year / 6 + chance.gauss(0, 8)), 2),
        "grid:code": f"MGRS-{tile}",
        "proj:code": "EPSG:32632",
        "sat:relative_orbit": orbit.number,
        "sat:orbit_state": "descending",
        "view:sun_elevation": round(sun, 2),
        "processing:level": "L2A",
    }
    return _item(item_id, SCENES, geometry, bbox, properties, _assets(item_id))


def _assets(item_id: str) -> dict[str, Any]:
    folder = f"https://scenes.stac-manager.example/{item_id}"
    geotiff = "image/tiff; application=geotiff; profile=cloud-optimized"
    bands = {
        key: {
            "href": f"{folder}/{band}.tif",
            "type": geotiff,
            "title": f"Band {band}",
            "roles": ["data", "reflectance"],
            "gsd": gsd,
            "bands": [{"name": band, "eo:common_name": key}],
        }
        for key, (band, gsd) in _BANDS.items()
    }
    thumbnail = {"href": f"{folder}/preview.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    return {**bands, "thumbnail": thumbnail}


def _item(
    item_id: str,
    collection: str,
    geometry: dict[str, Any],
    bbox: list[float],
    properties: dict[str, Any],
    assets: dict[str, Any],
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [PROFILE] if collection == SCENES else [],
        "id": item_id,
        "collection": collection,
        "geometry": geometry,
        "bbox": bbox,
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def _text(instant: datetime) -> str:
    return instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _mosaics() -> Iterator[dict[str, Any]]:
    tiles = _tiles()
    for month in range(FIRST_DAY.month, LAST_DAY.month + 1):
        start = datetime(2025, month, 1, tzinfo=UTC)
        end = datetime(2025, month + 1, 1, tzinfo=UTC) - timedelta(milliseconds=1)
        for name in ("32TLS", "32TMS", "32TNS", "32TPT"):
            geometry, bbox = _geometry(tiles[name])
            item_id = f"S2_{name}_{start:%Y%m}_mosaic"
            properties = {
                "datetime": None,
                "start_datetime": _text(start),
                "end_datetime": _text(end),
                "constellation": "sentinel-2",
                "grid:code": f"MGRS-{name}",
                "proj:code": "EPSG:32632",
            }
            yield _item(item_id, MOSAICS, geometry, bbox, properties, _assets(item_id))


def _break_some(scenes: list[dict[str, Any]]) -> None:
    """Add faults that occur in real catalogs; different steps of the chain detect them."""
    step = len(scenes) // 9
    too_cloudy, no_assets, no_href, no_geometry, not_a_number, unknown_schema, number_for_text, bad_platform = (
        scenes[step * number + 5] for number in range(8)
    )
    too_cloudy["properties"]["eo:cloud_cover"] = 140.5
    del no_assets["assets"]
    no_href["links"].append({"rel": "derived_from"})
    del no_geometry["geometry"]
    not_a_number["properties"]["eo:snow_cover"] = math.nan
    unknown_schema["stac_extensions"].append("https://stac-manager.example/not-published/v0.1.0/schema.json")
    number_for_text["properties"]["processing:level"] = 2
    bad_platform["properties"]["platform"] = "Sentinel-2A"


def demo_items() -> list[dict[str, Any]]:
    """Every item of the demo, scenes by time, then mosaics; eight of them with a fault."""
    scenes = sorted(_scenes(), key=lambda item: (item["properties"]["datetime"], item["id"]))
    _break_some(scenes)
    return [*scenes, *_mosaics()]


def _collection(collection_id: str, title: str, description: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": collection_id,
        "title": title,
        "description": description,
        "license": "other",
        "keywords": ["sentinel-2", "alps", "demo"],
        "providers": [{"name": "Alps Scenes (made up)", "roles": ["producer", "host"]}],
        "extent": {
            "spatial": {"bbox": [[5.0, 44.0, 15.0, 49.0]]},
            "temporal": {"interval": [[_text(FIRST_DAY), None]]},
        },
        "links": [],
    }


COLLECTIONS = [
    _collection(SCENES, "Sentinel-2 over the Alps", "Made-up Level-2A scenes on real tiles and orbits."),
    _collection(MOSAICS, "Monthly mosaics over the Alps", "Made-up monthly mosaics: items with a time range."),
]
