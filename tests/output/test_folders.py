"""Folders of files, and files that other tools have written again: what says where the geometry is, is still there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import rustac
from stac_geoparquet.arrow import stac_table_to_items

from tests.output.make import SQUARE, item, write


@pytest.fixture
def folder(tmp_path: Path, corpus_dir: Path) -> Path:
    """Two partitions of real items, as they are published."""
    found = [orjson.loads(line) for line in (corpus_dir / "sentinel2" / "items.ndjson").read_bytes().splitlines()]
    by_type: dict[str, list[Any]] = {}
    for one in found:
        by_type.setdefault(one["id"][:3] + one["geometry"]["type"], []).append(one)
    items = max(by_type.values(), key=len)
    assert len(items) >= 4
    folder = tmp_path / "items"
    folder.mkdir()
    collection = {"type": "Collection", "id": "c"}
    for name, part in (("2024-01", items[:2]), ("2024-02", items[2:4])):
        assert write(part, folder / f"{name}.parquet", collection=collection).rows == 2
    return folder


def test_geopandas_reads_a_folder_of_partitions(folder: Path) -> None:
    frame = geopandas.read_parquet(folder, columns=["id", "geometry", "datetime"])
    assert len(frame) == 4
    assert frame.crs == "EPSG:4326"
    assert len(geopandas.read_parquet(folder, columns=["id", "geometry"], bbox=(-180, -90, 180, 90))) == 4


def test_every_way_into_a_folder_finds_the_same_geo_metadata(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    first, second = (pq.read_schema(path).metadata[b"geo"] for path in paths)
    assert first == second
    assert pq.read_table(folder).schema.metadata[b"geo"] == first
    assert ds.dataset(folder).schema.metadata[b"geo"] == first
    assert pa.unify_schemas([pq.read_schema(path) for path in paths]).metadata[b"geo"] == first


def test_the_file_itself_still_tells_its_true_types_and_extent(folder: Path) -> None:
    path = min(folder.iterdir())
    common = orjson.loads(pq.read_schema(path).metadata[b"geo"])
    (exact,) = duckdb.sql(f"FROM parquet_kv_metadata('{path}') SELECT value WHERE decode(key) = 'geo'").fetchall()
    found = orjson.loads(exact[0])
    assert found == orjson.loads(pq.read_metadata(path).metadata[b"geo"])
    assert found["columns"]["geometry"]["geometry_types"]
    assert found["columns"]["geometry"].pop("bbox")
    found["columns"]["geometry"]["geometry_types"] = []
    if "proj:geometry" in found["columns"]:
        found["columns"]["proj:geometry"]["geometry_types"] = []
    assert found == common


def test_duckdb_and_stac_geoparquet_read_a_folder(folder: Path) -> None:
    files = f"read_parquet('{folder}/*.parquet', union_by_name=true)"
    assert duckdb.sql(f"SELECT count(*), min(bbox.xmin) < max(bbox.xmax) FROM {files}").fetchall() == [(4, True)]
    assert len(list(stac_table_to_items(pq.read_table(folder)))) == 4


def test_what_pyarrow_writes_again_is_still_geoparquet(folder: Path, tmp_path: Path) -> None:
    source, again = min(folder.iterdir()), tmp_path / "again.parquet"
    pq.write_table(pq.read_table(source), again)
    assert len(geopandas.read_parquet(again, columns=["id", "geometry"])) == 2
    metadata = pq.read_metadata(again).metadata
    assert orjson.loads(metadata[b"geo"])["primary_column"] == "geometry"
    assert orjson.loads(metadata[b"stac-geoparquet"])["collections"]["c"]["id"] == "c"

    async def read(path: Path) -> list[dict[str, Any]]:
        return (await rustac.read(str(path)))["features"]

    assert asyncio.run(read(again)) == asyncio.run(read(source))
    assert list(stac_table_to_items(pq.read_table(again))) == list(stac_table_to_items(pq.read_table(source)))


def test_files_with_a_bbox_of_4_and_of_6_have_the_same_geo_metadata(tmp_path: Path) -> None:
    write([item()], tmp_path / "flat.parquet")
    write([item(top={"bbox": [0, 0, 0, 1, 1, 1]})], tmp_path / "high.parquet")
    first, second = (pq.read_schema(tmp_path / f"{name}.parquet").metadata[b"geo"] for name in ("flat", "high"))
    assert first == second


def test_a_second_geometry_is_one_for_geopandas_too(tmp_path: Path) -> None:
    write([item(**{"proj:geometry": SQUARE})], tmp_path / "f.parquet")
    frame = geopandas.read_parquet(tmp_path / "f.parquet", columns=["geometry", "proj:geometry"])
    assert frame["proj:geometry"].geom_type.tolist() == ["Polygon"]
