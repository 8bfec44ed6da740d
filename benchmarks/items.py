"""Items of real size and shape: real ones of the corpus, given new ids, times and footprints, as many as are asked for.

The corpus is a folder beside the project. Where it is missing, the items are made up, and are smaller and simpler.

python -m benchmarks.items items.ndjson 20000 30 sentinel-2
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

__all__ = ["COLLECTION", "KINDS", "SCHEMAS", "START", "Lines", "describe", "has_corpus", "make_items", "make_lines"]

START = datetime(2024, 6, 1, tzinfo=UTC)
COLLECTION = "scenes"
SHARED = Path(__file__).parents[1].parent / "shared"
CORPUS = SHARED / "corpus"
SCHEMAS = SHARED / "schemas"

POOL = 20_000
"""How many lines `Lines` keeps in memory: about 320 MB. Further items repeat their footprints, not ids and times."""

_PC = "stac-geoparquet--planetarycomputer.microsoft.com"
_EARTH_SEARCH = "xcube-stac--earth-search.aws.element84.com"
KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "sentinel-2": (("stac-geoparquet", "sentinel-2-l2a"), (_PC, "sentinel-2-l2a")),
    "mix": (
        (_EARTH_SEARCH, "sentinel-1-grd"),
        ("xcube-stac--stac.dataspace.copernicus.eu", "sentinel-3-sl-2-lst-ntc"),
        ("landsat", "landsat-c2-l2"),
        ("met-office-deterministic", "met-office-uk-deterministic-near-surface"),
        (_PC, "modis-09A1-061"),
    ),
}
"""Kind -> the folders of the corpus and the collections in them: Sentinel-2, and five others of five providers."""


@dataclass(frozen=True)
class _Template:
    """A real item as text, and what is replaced in it."""

    text: str
    item_id: str
    center: tuple[float, float]


def has_corpus() -> bool:
    """Whether real items are at hand."""
    return CORPUS.is_dir()


def describe(kind: str) -> str:
    """Which items these are, in one line."""
    if not has_corpus():
        return "made-up items, because the corpus is not at hand"
    names = ", ".join(f"{collection} ({source})" for source, collection in KINDS[kind])
    size = sum(len(one.text) for one in _templates(kind)) / len(_templates(kind)) / 1000
    return f"{len(_templates(kind))} real items of {size:.0f} KB on average: {names}"


@functools.cache
def _templates(kind: str) -> list[_Template]:
    if not has_corpus():
        return [_template(_made_up())]
    verdicts = _valid_ids()
    sources: list[list[_Template]] = []
    for source, collection in KINDS[kind]:
        lines = (CORPUS / source / "items.ndjson").read_bytes().splitlines()
        items = [item for item in map(orjson.loads, lines) if item.get("collection") == collection]
        valid = [item for item in items if (source, collection, item["id"]) in verdicts]
        sources.append([_template(item) for item in valid])
    most = max(map(len, sources))
    return [each[number % len(each)] for number in range(most) for each in sources]


@functools.cache
def _valid_ids() -> set[tuple[str, str, str]]:
    records = map(orjson.loads, (CORPUS / "validation.ndjson").read_bytes().splitlines())
    return {
        (record["source"], record["collection"], record["id"])
        for record in records
        if record["kind"] == "item" and record["verdict"] == "full"
    }


def _template(item: dict[str, Any]) -> _Template:
    box = item["bbox"]
    middle = len(box) // 2
    item["collection"] = COLLECTION
    # json, because orjson would write numbers such as 1.0e-4 in another way than the provider
    text = json.dumps(item, separators=(",", ":"), ensure_ascii=False)
    return _Template(text, item["id"], ((box[0] + box[middle]) / 2, (box[1] + box[middle + 1]) / 2))


class Lines:
    """`count` items as JSON lines, by time, spread evenly over the days. Memory does not grow beyond `POOL` lines."""

    def __init__(self, count: int, days: float = 30, kind: str = "sentinel-2", start: datetime = START) -> None:
        self.count = count
        self._start = start
        self._span = timedelta(days=days)
        self._templates = _templates(kind)
        self._pool = [orjson.dumps(self._item(number)) for number in range(min(count, POOL))]

    def __len__(self) -> int:
        return self.count

    def taken(self, number: int) -> datetime:
        """The `datetime` of an item."""
        return self._start + self._span * (number + 0.5) / self.count

    def item_id(self, number: int) -> str:
        """The id of an item."""
        return f"{self._template(number).item_id}_{number:07}"

    def __getitem__(self, number: int) -> bytes:
        base = number % POOL
        line = self._pool[base]
        if number == base:
            return line
        line = line.replace(self.item_id(base).encode(), self.item_id(number).encode())
        for lasting in _LASTING:
            line = line.replace(_bytes(self.taken(base) + lasting), _bytes(self.taken(number) + lasting))
        return line

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(self.count))

    def _template(self, number: int) -> _Template:
        return self._templates[number % POOL % len(self._templates)]

    def _item(self, number: int) -> dict[str, Any]:
        return _item(self._template(number), number, self.taken(number))


def make_lines(count: int, days: float = 30, kind: str = "sentinel-2") -> Iterator[bytes]:
    """The lines of `Lines`."""
    return iter(Lines(count, days, kind))


def make_items(count: int, days: float = 30, kind: str = "sentinel-2") -> Iterator[dict[str, Any]]:
    """The same as objects."""
    return map(orjson.loads, make_lines(count, days, kind))


_EXPOSURE = timedelta(seconds=20)
_PROCESSING = timedelta(hours=9)
_LASTING = (timedelta(0), _EXPOSURE, _PROCESSING)


def _item(template: _Template, number: int, taken: datetime) -> dict[str, Any]:
    new_id = f"{template.item_id}_{number:07}"
    item: dict[str, Any] = orjson.loads(template.text.replace(template.item_id, new_id))
    properties = item["properties"]
    if properties.get("start_datetime") and properties.get("end_datetime"):
        properties |= {"start_datetime": _text(taken), "end_datetime": _text(taken + _EXPOSURE)}
    properties |= {"datetime": _text(taken), "updated": _text(taken + _PROCESSING)}
    west, south = -170 + number * 7 % 3400 / 10, -70 + number * 13 % 1400 / 10
    _move(item, west - template.center[0], south - template.center[1])
    return item


def _bytes(instant: datetime) -> bytes:
    return _text(instant).encode()


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _move(item: dict[str, Any], east: float, north: float) -> None:
    box = item["bbox"]
    middle = len(box) // 2
    for at, by in ((0, east), (1, north), (middle, east), (middle + 1, north)):
        box[at] = round(box[at] + by, 6)
    item["geometry"]["coordinates"] = _moved(item["geometry"]["coordinates"], east, north)


def _moved(coordinates: list[Any], east: float, north: float) -> list[Any]:
    if isinstance(coordinates[0], list):
        return [_moved(part, east, north) for part in coordinates]
    return [round(coordinates[0] + east, 6), round(coordinates[1] + north, 6), *coordinates[2:]]


def _made_up() -> dict[str, Any]:
    """An item like those of Sentinel-2, for machines without the corpus."""
    names = ["blue", "green", "red", "nir", "scl", "aot", "wvp", "visual", "thumbnail", "preview"]
    folder = "https://scenes.example.com/sentinel-2/32/T/MS/S2A_MADE_UP"
    ring = [[8.0, 47.0], [9.0, 47.0], [9.0, 48.0], [8.0, 48.0], [8.0, 47.0]]
    assets = {
        name: {
            "href": f"{folder}/{name}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "title": name,
            "roles": ["data"],
            "gsd": 10,
            "proj:shape": [10980, 10980],
            "proj:transform": [10.0, 0.0, 399960.0, 0.0, -10.0, 4200000.0],
            "file:checksum": "1220" + "ab12cd34" * 8,
        }
        for name in names
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": "S2A_MADE_UP",
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [8.0, 47.0, 9.0, 48.0],
        "properties": {"datetime": None, "platform": "sentinel-2a", "eo:cloud_cover": 12.5, "proj:epsg": 32632},
        "links": [{"rel": "collection", "href": f"https://api.example.com/collections/{COLLECTION}"}],
        "assets": assets,
    }


def main(path: str, count: str, days: str, kind: str) -> None:
    """Write items to a file, in a process of its own: a contender's memory counts from what its parent had."""
    with Path(path).open("wb") as file:
        file.writelines(line + b"\n" for line in make_lines(int(count), float(days), kind))


if __name__ == "__main__":
    main(*sys.argv[1:])
