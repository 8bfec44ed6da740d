"""Items of a realistic size: about 15 KB of JSON, as Sentinel-2 items have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2024, 6, 1, tzinfo=UTC)
COLLECTION = "scenes"

_BANDS = [
    "coastal",
    "blue",
    "green",
    "red",
    "rededge1",
    "rededge2",
    "rededge3",
    "nir",
    "nir08",
    "nir09",
    "swir16",
    "swir22",
]
_MORE = ["scl", "aot", "wvp", "visual", "thumbnail", "granule_metadata", "tileinfo_metadata", "preview"]


def _asset(folder: str, name: str, number: int) -> dict[str, Any]:
    return {
        "href": f"{folder}/{name}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": f"{name} - {number}",
        "roles": ["data", "reflectance"],
        "gsd": 10 if number % 2 else 20,
        "proj:shape": [10980, 10980],
        "proj:transform": [10, 0, 399960, 0, -10, 4200000, 0, 0, 1],
        "file:checksum": f"1220{number:02}{'ab12cd34' * 7}",
        "file:size": 184_000_000 + number,
        "raster:bands": [
            {"nodata": 0, "data_type": "uint16", "bits_per_sample": 15, "spatial_resolution": 10, "scale": 0.0001}
        ],
        "eo:bands": [{"name": name, "common_name": name, "center_wavelength": 0.44, "full_width_half_max": 0.027}],
    }


def make_item(number: int, count: int, days: int) -> dict[str, Any]:
    """One item; `count` items are spread evenly over the days."""
    taken = START + timedelta(days=days) * (number + 0.5) / count
    west, south = -180 + (number * 7 % 3590) / 10, -80 + (number * 13 % 1600) / 10
    ring = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
    item_id = f"S2A_{number:07}_{taken:%Y%m%d}_0_L2A"
    folder = f"https://scenes.example.com/sentinel-s2-l2a-cogs/{number % 60}/T/MS/2024/6/{item_id}"
    stamp = (taken + timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assets = {name: _asset(folder, name, index) for index, name in enumerate([*_BANDS, *_MORE])}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, west + 1, south + 1],
        "properties": {
            "datetime": taken.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "created": stamp,
            "updated": stamp,
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": number % 1000 / 10,
            "mgrs:utm_zone": number % 60,
            "proj:epsg": 32600 + number % 60,
            "grid:code": f"MGRS-{number % 60:02}TMS",
            "view:sun_azimuth": 157.2 + number % 7,
            "view:sun_elevation": 41.9,
            "s2:product_uri": f"S2A_MSIL2A_{taken:%Y%m%dT%H%M%S}_N0510_R108_T32TMS.SAFE",
            "s2:degraded_msi_data_percentage": 0.0162,
            "s2:processing_baseline": "05.10",
            "processing:software": {"sentinel2-to-stac": "0.1.1"},
        },
        "links": [
            {"rel": "self", "href": f"https://api.example.com/collections/{COLLECTION}/items/{item_id}"},
            {"rel": "collection", "href": f"https://api.example.com/collections/{COLLECTION}"},
        ],
        "assets": assets,
    }


def make_items(count: int, days: int = 30) -> Iterator[dict[str, Any]]:
    """`count` items, by time."""
    return (make_item(number, count, days) for number in range(count))
