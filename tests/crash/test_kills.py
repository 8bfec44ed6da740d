"""`kill -9` at any moment: readers see whole generations, and the next run makes everything well."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import orjson
import pyarrow.parquet as pq
import pytest

from tests.crash.catalogs import SHORT_LEASES, BucketCatalog, Catalog, Source

ROTATION = ("compared", "probe_cursor", "owed", "round_left")
"""Which partition has its turn next: this counts looks, and a look that was killed is one more."""


@dataclass
class Trial:
    """Two catalogs of one source: one is never disturbed, and the other one's runs are killed."""

    calm: Catalog
    hit: Catalog
    mode: str
    chance: Random
    usual: float = 0.0
    kills: int = 0
    old: dict[str, bytes] = field(default_factory=dict)
    seen: list[dict[str, bytes]] = field(default_factory=list)

    def build(self) -> None:
        """The first generation of both; tells how long a run takes."""
        done = self.calm.run(self.mode)
        assert done.status == 1, done.out
        self.calm.run("incremental")  # by now it is known how far back to ask for updates
        self.hit.copy_of(self.calm)
        self.usual, self.old = done.seconds, self.calm.readable()

    def kill(self, share: float) -> bool:
        """Kill a run that has such a share of the work left, and keep what readers see then; False if it had ended."""
        killed = self.hit.start(self.mode).kill_after(self.chance.uniform(0, share * self.usual))
        self.kills += killed
        self.seen.append(self.hit.readable())
        self.hit.age_leftovers()
        return killed

    def mend(self) -> None:
        """Let both run to the end; then all must be the same."""
        runs = [one.start(self.mode) for one in (self.calm, self.hit)]
        done = [run.end() for run in runs]
        assert all(one.status in (0, 1) for one in done), done
        new = self.calm.readable()
        for view in self.seen:
            check_view(view, self.old, new)
        assert self.hit.leftovers() == []
        assert differences(self.calm, self.hit) == []
        self.old, self.seen = new, []


def check_view(view: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Every file is whole; a partition is of the old generation or the new one, and no item is without a partition."""
    assert ids(old) & ids(new) <= ids(view)
    for name, data in view.items():
        if name.endswith(".parquet"):
            check_partition(rows(data), rows(old.get(name)), rows(new.get(name)))
        elif name.endswith(".ndjson"):
            assert data.endswith(b"\n")
            known = {line for one in (old, new) for line in one.get(name, b"").splitlines()}
            assert set(data.splitlines()) <= known, name
        else:
            document = orjson.loads(data)
            assert document["type"] in ("Catalog", "Collection")
            for asset in document.get("assets", {}).values():
                assert f"published/c/{asset['href'].removeprefix('./')}" in view, asset


def check_partition(view: set[str], old: set[str], new: set[str]) -> None:
    """The old generation, or the new one, which may still have items that have not come to their new partition yet."""
    assert view == old or new <= view <= new | old, sorted(view ^ new)


def rows(parquet: bytes | None) -> set[str]:
    """The items, whichever columns the others of their file have."""
    if parquet is None:
        return set()
    found = pq.read_table(io.BytesIO(parquet)).to_pylist()
    members = ({name: value for name, value in row.items() if value is not None} for row in found)
    return {orjson.dumps(row, default=str).decode() for row in members}


def ids(view: dict[str, bytes]) -> set[str]:
    """What is published, in whichever partition."""
    files = (data for name, data in view.items() if name.endswith(".parquet"))
    return {item_id for data in files for item_id in pq.read_table(io.BytesIO(data), columns=["id"])["id"].to_pylist()}


def differences(one: Catalog, other: Catalog) -> list[str]:
    """The files that are not the same in two catalogs."""
    sides = [{name: comparable(name, data) for name, data in side.files().items()} for side in (one, other)]
    names = sorted(sides[0].keys() | sides[1].keys())
    return [name for name in names if sides[0].get(name) != sides[1].get(name)]


def comparable(name: str, data: bytes) -> object:
    if name != "stages/c/sync.json":
        return data
    return {member: value for member, value in orjson.loads(data).items() if member not in ROTATION}


def endure(mode: str, seed: int, kills: int, make: Callable[[str, str], Catalog]) -> None:
    """Kill runs of one of two catalogs, made by `make(name, url)`."""
    chance, source = Random(f"{mode} {seed}"), Source()
    with source.serve() as url:
        trial = Trial(make("calm", url), make("hit", url), mode, chance)
        trial.build()
        while trial.kills < kills:
            source.change(chance)
            share = 1.0
            for _ in range(min(chance.randint(1, 4), kills - trial.kills)):
                if not trial.kill(share):
                    break  # nothing is left to do
                share = max(0.3, share * 0.7) if mode == "incremental" else 1.0
            trial.mend()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Python's modules compiled, so that the first run takes no longer than others."""
    with Source().serve() as url:
        Catalog(tmp_path_factory.mktemp("warm") / "one", url).run("incremental")


@pytest.mark.parametrize("seed", [1], ids="seed{}".format)
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_killed_run_leaves_whole_generations_and_the_next_one_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, mode: str, seed: int
) -> None:
    endure(mode, seed, 10, lambda name, url: Catalog(tmp_path / name, url))


@pytest.mark.s3
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_killed_run_leaves_whole_generations_in_a_bucket_and_the_next_one_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, s3_url: str, mode: str
) -> None:
    endure(mode, 1, 2, lambda name, url: BucketCatalog(tmp_path / name, url, s3_url, SHORT_LEASES))


@pytest.mark.endurance
@pytest.mark.parametrize("seed", range(2, 6), ids="seed{}".format)
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_hundreds_of_kills_leave_nothing_behind(tmp_path: Path, mode: str, seed: int) -> None:
    endure(mode, seed, 25, lambda name, url: Catalog(tmp_path / name, url))
