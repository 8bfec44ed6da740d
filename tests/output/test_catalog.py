from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import orjson
import pystac
import pytest

from stac_manager.items import safe_name
from stac_manager.output import PartitionSummary, build_catalog, build_collection
from tests.output.make import item

SOURCE: dict[str, Any] = {
    "type": "Collection",
    "stac_version": "1.0.0",
    "stac_extensions": ["https://stac-extensions.github.io/item-assets/v1.0.0/schema.json"],
    "id": "things",
    "title": "Things",
    "description": "Things seen from above",
    "license": "CC-BY-4.0",
    "keywords": ["thing"],
    "item_assets": {"data": {"roles": ["data"]}},
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}},
    "summaries": {"platform": ["old"]},
    "links": [
        {"rel": "self", "href": "https://example.com/stac/collections/things"},
        {"rel": "root", "href": "https://example.com/stac"},
        {"rel": "items", "href": "https://example.com/stac/collections/things/items"},
        {"rel": "license", "href": "https://example.com/license"},
        {"rel": "about", "href": "../about.html"},
    ],
    "assets": {"thumbnail": {"href": "./thumb.png"}, "guide": {"href": "https://example.com/guide.pdf"}},
}
ASSETS = {
    f"items-{partition}": {
        "href": f"./items/{partition}.parquet",
        "type": "application/vnd.apache.parquet",
        "title": f"Items of {partition} as stac-geoparquet",
        "roles": ["collection-mirror"],
    }
    for partition in ("2024-01", "2024-02")
}


def summaries() -> dict[str, PartitionSummary]:
    one, other = PartitionSummary(), PartitionSummary()
    one.add(item(platform="a"))
    other.add(item(platform="b", datetime="2024-02-03T00:00:00Z", top={"bbox": [0, 0, 1, 1]}))
    return {"2024-01": one, "2024-02": other}


@pytest.fixture(scope="module")
def invalid(schema_dir: Path):
    """A function that says what is wrong with a STAC object, by the published schemas, or None."""

    def retrieve(uri: str) -> Any:
        parts = urlsplit(uri)
        return orjson.loads((schema_dir / f"{parts.netloc}{parts.path}").read_bytes())

    def schema(kind: str, version: str) -> jsonschema_rs.Draft7Validator:
        uri = f"https://schemas.stacspec.org/v{version}/{kind}-spec/json-schema/{kind}.json"
        return jsonschema_rs.Draft7Validator(retrieve(uri), retriever=retrieve)

    known = {(kind, v): schema(kind, v) for kind in ("catalog", "collection") for v in ("1.0.0", "1.1.0")}

    def check(made: dict[str, Any]) -> str | None:
        errors = known[made["type"].lower(), made["stac_version"]].iter_errors(made)
        return next((f"{made['id']}: {list(error.instance_path)}: {error.message}" for error in errors), None)

    return check


def links(made: dict[str, Any]) -> list[tuple[str, str]]:
    return [(link["rel"], link["href"]) for link in made["links"]]


def test_a_collection_tells_what_its_items_say(invalid: Any):
    made = build_collection(SOURCE, summaries(), assets=ASSETS)
    assert made["extent"] == {
        "spatial": {"bbox": [[0, 0, 11, 46.5]]},
        "temporal": {"interval": [["2024-01-31T10:00:00Z", "2024-02-03T00:00:00Z"]]},
    }
    assert made["summaries"] == {"platform": ["a", "b"]}
    assert {name: made[name] for name in ("id", "title", "license", "keywords", "item_assets", "stac_version")} == {
        name: SOURCE[name] for name in ("id", "title", "license", "keywords", "item_assets", "stac_version")
    }
    assert invalid(made) is None


def test_links_lead_to_the_root_and_back_to_the_source():
    assert links(build_collection(SOURCE, {}, assets={})) == [
        ("root", "../catalog.json"),
        ("parent", "../catalog.json"),
        ("license", "https://example.com/license"),
        ("about", "https://example.com/stac/about.html"),
        ("via", "https://example.com/stac/collections/things"),
    ]


def test_relative_links_of_a_source_without_an_address_are_dropped():
    source = {**SOURCE, "links": [link for link in SOURCE["links"] if link["rel"] != "self"]}
    made = build_collection(source, {}, assets={})
    assert [rel for rel, _ in links(made)] == ["root", "parent", "license"]
    assert list(made["assets"]) == ["guide"]


def test_every_partition_is_an_asset_in_order():
    made = build_collection(SOURCE, summaries(), assets=ASSETS)
    assert list(made["assets"]) == ["thumbnail", "guide", "items-2024-01", "items-2024-02"]
    assert made["assets"]["thumbnail"]["href"] == "https://example.com/stac/collections/thumb.png"
    assert made["assets"]["items-2024-01"] == {
        "href": "./items/2024-01.parquet",
        "type": "application/vnd.apache.parquet",
        "title": "Items of 2024-01 as stac-geoparquet",
        "roles": ["collection-mirror"],
    }


def test_without_items_the_source_s_extent_and_summaries_stay(invalid: Any):
    made = build_collection(SOURCE, {"2024-01": PartitionSummary()}, assets={})
    assert (made["extent"], made["summaries"]) == (SOURCE["extent"], SOURCE["summaries"])
    assert invalid(made) is None


def test_the_source_is_left_as_it_was():
    before = orjson.dumps(SOURCE)
    build_collection(SOURCE, summaries(), assets=ASSETS)
    assert orjson.dumps(SOURCE) == before


def test_an_old_collection_becomes_a_valid_new_one(invalid: Any):
    old = {
        "stac_version": "0.7.0",
        "stac_extensions": ["eo"],
        "id": "old",
        "description": "",
        "extent": {"spatial": [0, 0, 1, 1], "temporal": ["2015-01-01T00:00:00Z", None]},
        "summaries": {"gsd": {"min": 1, "max": 2}},
        "links": [],
    }
    made = build_collection(old, {}, assets={})
    assert invalid(made) is None
    assert (made["stac_version"], made["license"], made["description"]) == ("1.1.0", "other", "old")
    assert made["extent"]["spatial"] == {"bbox": [[0, 0, 1, 1]]}
    assert invalid(build_collection({"id": "bare"}, {}, assets={})) is None


def test_every_valid_collection_of_the_corpus_stays_valid(corpus_dir: Path, invalid: Any):
    found = [orjson.loads(path.read_bytes()) for path in sorted(corpus_dir.glob("*/collections/*.json"))]
    valid = [one for one in found if one["stac_version"] in ("1.0.0", "1.1.0") and one.get("type") == "Collection"]
    valid = [one for one in valid if invalid(one) is None]
    built = [build_collection(one, parts, assets={}) for one in valid for parts in ({}, summaries())]
    assert [wrong for one in built if (wrong := invalid(one))] == []
    assert len(valid) > 800


def test_pystac_walks_the_catalog(tmp_path: Path, invalid: Any):
    collections = [
        build_collection({**SOURCE, "id": collection_id}, summaries(), assets=ASSETS)
        for collection_id in ("things", "a/b ß")
    ]
    catalog = build_catalog("alps", "", collections)
    assert invalid(catalog) is None
    for made in collections:
        folder = tmp_path / safe_name(made["id"])
        folder.mkdir()
        (folder / "collection.json").write_bytes(orjson.dumps(made))
    (tmp_path / "catalog.json").write_bytes(orjson.dumps(catalog))
    root = pystac.Catalog.from_file(str(tmp_path / "catalog.json"))
    walked = [(child.id, child.get_root().id, child.get_parent().id) for child in root.get_children()]
    assert walked == [("things", "alps", "alps"), ("a/b ß", "alps", "alps")]
    (things, _) = root.get_children()
    assert things.extent.spatial.bboxes == [[0, 0, 11, 46.5]]
    expected = tmp_path / "things" / "items" / "2024-01.parquet"
    assert things.assets["items-2024-01"].get_absolute_href() == str(expected)
