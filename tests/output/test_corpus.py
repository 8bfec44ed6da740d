"""Every real item goes through the file and back, or is refused with a reason; every reader reads every file."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import geopandas
import orjson
import pytest
import rustac

from stac_manager.items import Item
from stac_manager.output import parquet_form, read_geoparquet, same_after_parquet
from tests.output.make import read_reference, write


@pytest.fixture(scope="module")
def groups(corpus_dir: Path) -> dict[str, list[Item]]:
    """Items by source and collection, as partitions would have them."""
    found = defaultdict(list)
    for path in sorted(corpus_dir.glob("*/items.ndjson")):
        for line in path.read_bytes().splitlines():
            made = orjson.loads(line)
            found[f"{path.parent.name}/{made.get('collection')}"].append(made)
    return found


async def test_every_item_comes_back_or_is_refused_and_every_reader_agrees(
    groups: dict[str, list[Item]], tmp_path: Path
):
    wrong: list[str] = []
    reasons: Counter[str] = Counter()
    total = 0
    path = tmp_path / "f.parquet"
    for name, items in groups.items():
        result = write(items, path)
        gone = {id(rejection.source_data) for rejection in result.rejected}
        kept = [made for made in items if id(made) not in gone]
        reasons.update(rejection.error_type for rejection in result.rejected)
        total += len(kept) + len(gone)
        assert result.rows == len(kept)
        if list(read_geoparquet(path)) != [parquet_form(made) for made in kept]:
            wrong.append(f"{name}: read_geoparquet")
        pairs = zip(kept, read_reference(path), strict=True)
        wrong += [f"{name}: {found}" for pair in pairs if (found := same_after_parquet(*pair))]
        wrong += [f"{name}: {reader}" for reader in await disagreeing(path, [made["id"] for made in kept])]
    assert wrong == []
    assert total == sum(map(len, groups.values())) > 2000
    assert sum(reasons.values()) < 60
    assert set(reasons) == {"ParquetGeometry", "ParquetNameConflict", "ParquetTime", "ParquetTypeConflict"}


async def disagreeing(path: Path, ids: list[str]) -> list[str]:
    found = {
        "duckdb": [item_id for (item_id,) in duckdb.sql(f"select id from '{path}'").fetchall()],
        "geopandas": list(geopandas.read_parquet(path, columns=["id", "geometry"])["id"]),
        "rustac": [made["id"] for made in (await rustac.read(str(path)))["features"]] if ids else [],
    }
    return [reader for reader, read in found.items() if read != ids]


def test_unlike_collections_in_one_file_lose_nothing_either(corpus_items: list[Item], tmp_path: Path):
    result = write(corpus_items, tmp_path / "f.parquet")
    gone = {id(rejection.source_data) for rejection in result.rejected}
    kept = [made for made in corpus_items if id(made) not in gone]
    assert all(rejection.error_message.startswith("`") for rejection in result.rejected)
    pairs = zip(kept, read_geoparquet(tmp_path / "f.parquet"), strict=True)
    assert [found for pair in pairs if (found := same_after_parquet(*pair))] == []
    assert len(kept) > 0.9 * len(corpus_items)
