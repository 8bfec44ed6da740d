"""Number columns of one type in all files of a collection, so that a folder of them reads as it was written."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from copy import deepcopy
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import orjson
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from demo.server import create_app, serve
from stac_manager.pipeline import Chain
from stac_manager.pipeline.state.paths import contract_key, partition_lock
from stac_manager.pipeline.sync.runs import rebuild
from tests.crash.catalogs import Catalog
from tests.crash.test_every_write import COUNTED
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item
from tests.workflows import make_workflow

README = Path(__file__).parents[2] / "README.md"
MONTHS = ("2024-01", "2024-02", "2024-03")


def nested(gsd: float) -> dict[str, Any]:
    return {"data": {"href": "https://example.com/a.tif", "bands": [{"name": "B1", "gsd": gsd}]}}


def some_items() -> list[dict[str, Any]]:
    """January has integers only, February a float here, March a float there."""
    return [
        {**make_item("a", "2024-01-05T00:00:00Z", cloud=19, shape=[1, 2], n=1), "assets": nested(10)},
        {**make_item("b", "2024-02-05T00:00:00Z", cloud=19.6, shape=[1, 2], n=2), "assets": nested(10)},
        {**make_item("c", "2024-03-05T00:00:00Z", cloud=82, shape=[1, 2.5], n=3), "assets": nested(0.5)},
    ]


@pytest.fixture
def items() -> list[dict[str, Any]]:
    return some_items()


@pytest.fixture
def url(items: list[dict[str, Any]]) -> Iterator[str]:
    with serve(create_app([make_collection()], items)) as url:
        yield url


@pytest.fixture
def site(url: str, items: list[dict[str, Any]], tmp_path: Path) -> Site:
    return Site(url, items, tmp_path)


def folder(site: Site) -> Path:
    return site.folder / "data" / "published" / "c" / "items"


def types(site: Site) -> set[tuple[str, str, str]]:
    schemas = [pq.read_schema(path) for path in sorted(folder(site).glob("*.parquet"))]
    return {(str(one.field("cloud").type), str(one.field("shape").type), str(one.field("n").type)) for one in schemas}


def contents(site: Site) -> dict[str, bytes]:
    """Every file but the times of syncs."""
    return {name: data for name, (data, _) in site.files().items() if not name.endswith("sync.json")}


def hashes(site: Site) -> dict[str, str]:
    manifests = {month: site.chain.stage_partition("published", month).read(site.chain.storage) for month in MONTHS}
    return {month: manifest.content_hash for month, manifest in manifests.items() if manifest}


DOUBLE = {("double", "list<element: double>", "int64")}


def test_a_plain_glob_rounds_nothing(site: Site) -> None:
    list(rebuild(site.chain, MONTHS))
    rows = duckdb.sql(f"SELECT cloud, assets.data.bands[1].gsd, shape[2] FROM '{folder(site)}/*.parquet' ORDER BY id")
    assert rows.fetchall() == [(19, 10, 2), (19.6, 10, 2), (82, 0.5, 2.5)]
    assert ds.dataset(folder(site)).to_table(columns=["cloud"])["cloud"].to_pylist() == [19, 19.6, 82]
    assert pd.read_parquet(folder(site), columns=["cloud"])["cloud"].tolist() == [19, 19.6, 82]
    assert types(site) == DOUBLE


def test_the_order_in_which_partitions_are_run_changes_no_byte(
    url: str, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    found = []
    for number, order in enumerate(permutations(MONTHS)):
        (tmp_path / str(number)).mkdir()
        site = Site(url, items, tmp_path / str(number))
        for partition in order:
            site.run(partition)
        found.append(contents(site))
        assert all(site.chain.is_up_to_date(partition) for partition in MONTHS)
        assert not [name for name in found[-1] if "publish-intent" in name or "/dirty/" in name]
        assert types(site) == DOUBLE
    assert all(one == found[0] for one in found)


def test_columns_are_integers_again_when_the_last_float_is_gone(site: Site, tmp_path: Path) -> None:
    site.sync()
    site.items[1]["properties"]["cloud"] = 20
    site.items[2].update(make_item("c", "2024-03-05T00:00:00Z", cloud=82, shape=[1, 2], n=3), assets=nested(1))
    site.sync()
    assert types(site) == {("int64", "list<element: int64>", "int64")}
    (tmp_path / "fresh").mkdir()
    fresh = Site(site.url, site.items, tmp_path / "fresh")
    list(rebuild(fresh.chain, MONTHS))
    assert {name: data for name, data in contents(fresh).items() if "sync" not in name} == contents(site)


def test_a_float_that_a_sync_brings_widens_the_other_partitions_and_changes_no_item(site: Site) -> None:
    site.items[1]["properties"]["cloud"] = 20
    site.sync()
    before = hashes(site)
    site.items[1]["properties"]["cloud"] = 20.5
    assert set(site.sync()) == {"2024-02"}
    assert types(site) == DOUBLE
    assert [month for month in MONTHS if hashes(site)[month] != before[month]] == ["2024-02"]
    assert site.sync() == {}


def test_integers_beyond_2_to_53_stay_whole_beside_floats(site: Site) -> None:
    site.items[0]["properties"]["cloud"] = 2**60 + 1
    list(rebuild(site.chain, MONTHS))
    assert pq.read_table(folder(site) / "2024-01.parquet", columns=["cloud"])["cloud"].to_pylist() == [2**60 + 1]
    assert site.sync() == {}


ODD_CONTRACTS = [
    b'{"contract": %s}' % odd for odd in (b"5", b'{"double": 3}', b'{"double": [1, "/n"]}', b'{"double": ["/n", "/x"]}')
]


def test_the_file_of_the_collection_is_only_a_hint(site: Site) -> None:
    list(rebuild(site.chain, MONTHS))
    key = contract_key("c", "parquet")
    good, files = site.chain.storage.get(key), contents(site)
    assert orjson.loads(good or b"")["contract"]["double"] == ["/assets/data/bands/*/gsd", "/cloud", "/shape/*"]
    for wrong in (None, b"", b"{", b"[]", *ODD_CONTRACTS):
        if wrong is None:
            site.chain.storage.delete(key)
        else:
            site.chain.storage.put(key, wrong)
        site.sync()
        assert contents(site) == files, wrong


@pytest.mark.parametrize("detail", [None, 5, {"integer": [], "double": []}, {"integer": 1, "double": 2, "widened": 3}])
def test_a_manifest_that_does_not_tell_its_number_types_is_stale(site: Site, detail: Any) -> None:
    list(rebuild(site.chain, MONTHS))
    files = contents(site)
    for month in MONTHS:
        key = site.chain.stage_partition("published", month).manifest_key
        document = orjson.loads(site.chain.storage.get(key) or b"")
        details = document["details"]["outputs"]["parquet"]
        del details["number_types"]
        if detail is not None:
            details["number_types"] = detail
        site.chain.storage.put(key, orjson.dumps(document))
    assert not site.chain.is_up_to_date("2024-01")
    site.chain.publish_collection()
    assert contents(site) == files


def test_a_partition_that_another_run_holds_is_left_to_it(site: Site) -> None:
    site.run("2024-01")
    held, done = threading.Event(), threading.Event()

    def other() -> None:
        with Chain.of(site.workflow, "c").storage.lock(partition_lock("c", "2024-01")):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(60)
    site.run("2024-02")
    done.set()
    thread.join()
    assert not site.chain.is_up_to_date("2024-01")
    site.run("2024-03")
    assert site.chain.is_up_to_date("2024-01")
    assert types(site) == DOUBLE


def test_a_partition_whose_items_are_damaged_keeps_its_file(site: Site) -> None:
    manifest = site.run("2024-01")["validated"]
    assert manifest.items
    site.chain.storage.put(manifest.items.key, b"x")
    site.run("2024-02")
    assert set(site.published("2024-01")) == {"a"}
    site.sync()
    assert types(site) == DOUBLE


def test_a_run_that_is_killed_while_it_widens_is_made_good_by_the_next_one(tmp_path: Path) -> None:
    items = some_items()
    items[1]["properties"]["cloud"] = 20
    with serve(create_app([make_collection()], items)) as url:
        before, calm, hit = (Catalog(tmp_path / name, url) for name in ("before", "calm", "hit"))
        before.run("incremental")
        before.run("incremental")
        items[1]["properties"]["cloud"] = 20.5
        writes = _copy(before, calm).start("incremental", code=COUNTED, COUNTED=str(calm.data), LAST="0").end()
        count = int(writes.out.split("writes ")[1])
        assert count > 30
        calm.run("incremental")
        for number in sorted(Random(1).sample(range(count // 2, count), 5)):
            done = _copy(before, hit).start("incremental", code=COUNTED, COUNTED=str(hit.data), LAST=str(number)).end()
            assert done.status == -9, done.out
            hit.run("incremental")
            assert _but_sync(hit) == _but_sync(calm), number


def _copy(source: Catalog, target: Catalog) -> Catalog:
    shutil.rmtree(target.data, ignore_errors=True)
    shutil.copytree(source.data, target.data)
    return target


def _but_sync(catalog: Catalog) -> dict[str, bytes]:
    return {name: data for name, data in catalog.files().items() if not name.endswith("sync.json")}


def test_the_query_of_the_readme_reads_real_partitions_whose_columns_differ(
    corpus_items: list[dict[str, Any]], tmp_path: Path
) -> None:
    real = [one for one in corpus_items if one.get("collection") == "sentinel-2-l2a" and "red" in one["assets"]]
    items = {one["id"]: {**deepcopy(one), "collection": "c"} for one in real if "eo:cloud_cover" in one["properties"]}
    months = {one["properties"]["datetime"][:7] for one in items.values()}
    assert len(months) >= 2
    for one in items.values():
        if one["properties"]["datetime"].startswith(min(months)):
            del one["properties"]["eo:cloud_cover"]
    with serve(create_app([make_collection()], list(items.values()))) as url:
        partitions = {"by": "month", "start": f"{min(months)}-01", "end": f"{max(months)}-28"}
        site = Site(url, list(items.values()), tmp_path, partitions=partitions, validation={"level": "lenient"})
        list(rebuild(site.chain, sorted(months)))
    files = sorted(folder(site).glob("*.parquet"))
    assert len(files) >= 2
    (query,) = re.findall(r"```sql\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    shown, anywhere = re.subn(r"'data/[^']*/items/", f"'{folder(site)}/", query)
    assert anywhere == 1
    everywhere = re.sub(r"WHERE .*? ORDER", "ORDER", shown, flags=re.DOTALL)
    assert everywhere != shown
    assert duckdb.sql(shown.rstrip("; \n")) is not None
    rows = duckdb.sql(everywhere.rstrip("; \n")).fetchall()
    assert {row[0] for row in rows} == {item_id for path in files for item_id in site.published(path.stem)}
    assert {row[1] for row in rows} == {items[row[0]]["properties"].get("eo:cloud_cover") for row in rows}
    assert None in {row[1] for row in rows}


@pytest.mark.s3
def test_a_bucket_holds_the_same_bytes_as_a_folder(site: Site, s3_url: str, tmp_path: Path) -> None:
    list(rebuild(site.chain, MONTHS))
    (tmp_path / "bucket").mkdir()
    workflow = make_workflow(tmp_path / "bucket", site.url, output={"path": f"{s3_url}/numbers"})
    chain = Chain.of(workflow, "c")
    list(rebuild(chain, MONTHS))
    names = [name for name in contents(site) if name.startswith("published/") or name == contract_key("c", "parquet")]
    assert len(names) == 6
    assert {name: chain.storage.get(name) for name in names} == {name: contents(site)[name] for name in names}
