"""A disk that is full: clear lines, what is published stays, and with room again a rerun makes all of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.crash.catalogs import Catalog, Done, Source
from tests.crash.test_kills import check_view, differences
from tests.storage.disks import small_disk

PAGE = 4096
"""Such a disk keeps whole pages."""

PLENTY = 64 << 20

MISSING = {
    "collection.json": 2,
    "stages/c/published": 4,
    "published/c/items": 6,
    "stages/c/validated": 9,
    "stages/c/extended": 11,
    "quarantine/c": 13,
    "stages/c/raw_items": 14,
    "stages/c/blobs": 16,
}
"""What is written first of all that finds no room -> how many pages the disk of a first run is too small for that."""


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    with source.serve():
        yield source


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)


def used(disk: Path) -> int:
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in disk.rglob("*") if path.is_file())


def check_failure(done: Done) -> None:
    """Status 3, and a line for each partition that failed."""
    assert done.status == 3, done.out
    assert "Traceback" not in done.out
    assert "unexpected" not in done.out
    assert 1 <= len(done.errors) <= 4, done.out
    for line in done.errors:
        assert "No space left on device" in line or "no room" in line or "partitions in a row" in line, line


@contextmanager
def catalogs(source: Source, folder: Path) -> Iterator[tuple[Catalog, Catalog, Path]]:
    """One that is never disturbed, and one on a small disk."""
    with small_disk(PLENTY) as disk:
        yield Catalog(folder / "calm", source.url), Catalog(folder / "hit", source.url, data=disk / "data"), disk


def test_a_first_run_without_room_for_it_tells_where_and_with_room_the_next_one_makes_everything(
    source: Source, tmp_path: Path
) -> None:
    with catalogs(source, tmp_path) as (calm, hit, disk):
        assert calm.run("full").status == 1
        size = used(calm.data)
        for place, pages in MISSING.items():
            shutil.rmtree(hit.data, ignore_errors=True)
            resize(disk, size - pages * PAGE)
            done = hit.run("full")
            check_failure(done)
            assert place in done.errors[0]
            check_view(hit.readable(), {}, calm.readable())
            resize(disk, PLENTY)
            assert hit.run("full").status == 1
            assert differences(calm, hit) == []


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_later_run_without_room_leaves_what_is_published_and_with_room_the_next_one_makes_everything(
    source: Source, tmp_path: Path, mode: str
) -> None:
    with catalogs(source, tmp_path) as (calm, hit, disk):
        calm.run(mode)
        calm.run("incremental")
        old = calm.readable()
        before = shutil.copytree(calm.data, tmp_path / "before")
        source.change(Random(1))
        assert calm.run(mode).status == 1
        for pages in (0, 1, 2):
            shutil.copytree(before, hit.data)
            resize(disk, used(disk) + pages * PAGE)
            check_failure(hit.run(mode))
            check_view(hit.readable(), old, calm.readable())
            resize(disk, PLENTY)
            assert hit.run(mode).status == 1
            assert hit.leftovers() == calm.leftovers()
            assert differences(calm, hit) == []
            shutil.rmtree(hit.data)


@pytest.mark.parametrize("pages", [1, 8, 30])
def test_a_full_temporary_folder_leaves_what_is_published_and_with_room_the_next_run_makes_everything(
    source: Source, tmp_path: Path, pages: int
) -> None:
    with small_disk(PLENTY) as disk:
        calm, hit = Catalog(tmp_path / "calm", source.url), Catalog(tmp_path / "hit", source.url, temporary=disk)
        calm.run("full")
        shutil.copytree(calm.data, hit.data)
        old = calm.readable()
        source.change(Random(1))
        calm.run("full")
        (disk / "others").write_bytes(bytes(1 << 20))
        resize(disk, used(disk) + pages * PAGE)
        check_failure(hit.run("full"))
        check_view(hit.readable(), old, calm.readable())
        assert [path.name for path in disk.iterdir()] == ["others"]
        resize(disk, PLENTY)
        assert hit.run("full").status == 1
        assert differences(calm, hit) == []
