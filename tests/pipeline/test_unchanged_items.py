"""Where most items of a partition are unchanged, only the others are processed, and no byte is another for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.output.geoparquet import writer
from stac_manager.pipeline import STAGES, Manifest
from stac_manager.pipeline.checks import run_checks
from stac_manager.validate import Validator
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

COUNT = 60
PARQUET = "data/published/c/items/2024-01.parquet"


def some_item(item_id: str, random: Random) -> dict[str, Any]:
    made = make_item(item_id, f"2024-01-{random.randint(1, 28):02}T10:00:00Z", cloud=random.choice([1.5, 2, 3.25]))
    made["properties"]["n"] = random.randint(0, 9)
    if random.random() < 0.3:
        made["properties"]["name"] = random.choice(["x", "y"])
    return made


def odd_item(item_id: str, random: Random) -> dict[str, Any]:
    """An item of another shape, or one that validation or the output rejects."""
    made = some_item(item_id, random)
    made["properties"] |= random.choice([{"n": 0.5}, {"n": 2**60}, {"n": "text"}, {"new": None}, {"new": {"a": [1]}}])
    kind = random.randrange(6)
    if kind == 0:
        made["bbox"] = [7.5, 46.5, 0, 7.5, 46.5, 9]
        made["geometry"] = {"type": "Point", "coordinates": [7.5, 46.5, 3.5]}
    elif kind == 1:
        made["geometry"] = None
    elif kind == 2:
        made["properties"]["created"] = "no time"
    return made


@pytest.fixture
def items() -> list[dict[str, Any]]:
    random = Random(1)
    return [some_item(f"i{number:03}", random) for number in range(COUNT)]


@pytest.fixture
def url(items: list[dict[str, Any]]) -> Iterator[str]:
    with serve(create_app([make_collection()], items)) as url:
        yield url


@pytest.fixture
def site(url: str, items: list[dict[str, Any]], tmp_path: Path, schema_dir: Path) -> Site:
    return new_site(url, items, tmp_path, schema_dir)


def new_site(url: str, items: list[dict[str, Any]], folder: Path, schema_dir: Path) -> Site:
    folder.mkdir(exist_ok=True)
    return Site(url, items, folder, validation={"schema_dirs": [str(schema_dir)]})


def scan(site: Site) -> dict[str, Manifest]:
    return {stage: site.chain.run(stage, "2024-01", mode="scan", allow_deletes=True) for stage in STAGES}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many items were converted to rows, and how many were validated."""
    found = {"rows": 0, "verdicts": 0}
    row_of, check = writer.row_of, Validator.check

    def counted_row_of(item: Any) -> Any:
        found["rows"] += 1
        return row_of(item)

    def counted_check(self: Validator, item: Any) -> Any:
        found["verdicts"] += 1
        return check(self, item)

    monkeypatch.setattr(writer, "row_of", counted_row_of)
    monkeypatch.setattr(Validator, "check", counted_check)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_sync_of_some_items_leaves_the_bytes_of_a_full_run(
    site: Site, url: str, tmp_path: Path, schema_dir: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    random = Random(seed)
    site.run()
    for step in range(6):
        for _ in range(random.randint(1, 5)):
            make = random.choice([some_item, some_item, odd_item])
            at = random.randrange(len(site.items))
            random.choice(
                [
                    lambda at=at, make=make: site.items.__setitem__(at, make(site.items[at]["id"], random)),
                    lambda at=at: site.items.pop(at),
                    lambda make=make, step=step: site.items.append(make(f"n{step}{random.randrange(99)}", random)),
                ]
            )()
        site.items[:] = {one["id"]: one for one in site.items}.values()
        done = scan(site)
        full = new_site(url, site.items, tmp_path / f"full{step}", schema_dir)
        full.run()
        assert checks(site, done["published"]) == {"unique_ids": True, "round_trip": True, "ledger_balances": True}
        for name in ("stages/c/published", "stages/c/validated", "published/c/items", "quarantine"):
            assert below(site, name) == below(full, name)


def checks(site: Site, manifest: Manifest) -> dict[str, bool]:
    return {outcome.name: outcome.passed for outcome in run_checks(site.chain.storage, manifest)}


def below(site: Site, name: str) -> dict[str, bytes]:
    return {key: content for key, (content, _) in site.files().items() if key.startswith(name)}


def test_only_changed_items_are_converted_and_validated(site: Site, calls: dict[str, int]):
    site.run()
    assert calls == {"rows": COUNT, "verdicts": COUNT}
    for number in (3, 30, 57):
        site.items[number]["properties"]["cloud"] = 0.5
    del site.items[10]
    site.items.append(some_item("new", Random(5)))
    scan(site)
    assert calls == {"rows": COUNT + 4, "verdicts": COUNT + 4}
    assert site.published().keys() == {one["id"] for one in site.items}
    assert site.published()["i003"]["properties"]["cloud"] == 0.5


def test_a_full_run_converts_and_validates_every_item(site: Site, calls: dict[str, int]):
    site.run()
    site.run()
    assert calls == {"rows": 2 * COUNT, "verdicts": 2 * COUNT}


@pytest.mark.parametrize("harm", ["another byte", "missing", "another file of the same size"])
def test_a_damaged_file_is_not_used(site: Site, url: str, tmp_path: Path, schema_dir: Path, harm: str):
    site.run()
    path = tmp_path / PARQUET
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        other = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(other if harm == "another byte" else bytes(len(content)))
    site.items[0]["properties"]["cloud"] = 0.5
    scan(site)
    full = new_site(url, site.items, tmp_path / "full", schema_dir)
    full.run()
    assert path.read_bytes() == (tmp_path / "full" / PARQUET).read_bytes()


def test_items_with_a_verdict_other_than_valid_are_checked_again(site: Site, calls: dict[str, int]):
    site.items[7]["stac_extensions"] = ["https://example.com/unknown/v1.0.0/schema.json"]
    first = site.run()["validated"]
    assert (first.details["valid"], first.details["unchecked"]) == (COUNT - 1, 1)
    site.items[20]["properties"]["cloud"] = 0.5
    second = scan(site)["validated"]
    assert (second.details["valid"], second.details["unchecked"]) == (COUNT - 1, 1)
    assert calls["verdicts"] == COUNT + 2
