from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from stac_manager.errors import StorageError
from stac_manager.storage import Storage
from tests.storage.disks import small_disk
from tests.storage.processes import kill, other_process, said

PUT_FOR_EVER = """
import sys
from pathlib import Path
from stac_manager.storage import Storage
storage, sources = Storage(sys.argv[1]), [Path(path) for path in sys.argv[2:]]
while True:
    for source in sources:
        storage.put("a/big", source)
        print("put", flush=True)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(params=["folder", "memory", pytest.param("bucket", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, root: Path) -> Storage:
    if request.param == "folder":
        return Storage(root)
    if request.param == "memory":
        return Storage("memory:///")
    return Storage(f"{request.getfixturevalue('s3_url')}/{request.node.name}")


def test_a_put_that_is_killed_leaves_a_whole_file_and_what_can_be_swept(root: Path, tmp_path: Path) -> None:
    storage = Storage(root)
    versions = [bytes([number]) * 20_000_000 for number in (1, 2)]
    sources = [tmp_path / "one", tmp_path / "two"]
    for source, version in zip(sources, versions, strict=True):
        source.write_bytes(version)
    for _ in range(5):
        with other_process(PUT_FOR_EVER, root, *sources) as process:
            assert said(process) == "put"
            kill(process)
        assert storage.get("a/big") in versions
        assert storage.list("a") == ["a/big"]
    storage.put("a/big", b"small")
    storage.remove_orphans("a/big")
    assert [path.name for path in (root / "a").iterdir()] == ["big"]
    assert storage.get("a/big") == b"small"


def test_orphans_of_a_key_are_removed_and_nothing_else(root: Path) -> None:
    storage = Storage(root)
    for key in ("a/x", "a/y", "a/b/x"):
        storage.put(key, b"1")
    for left in ("x#1", "x#22", "y#1", "b/x#1"):
        (root / "a" / left).write_text("part")
    for kept in ("x#", "x#1a", "x1"):
        (root / "a" / kept).write_text("whole")
    storage.remove_orphans("a/x")
    assert names(root / "a") == ["b", "b/x", "b/x#1", "x", "x#", "x#1a", "x1", "y", "y#1"]
    storage.remove_orphans_in("a")
    assert names(root / "a") == ["b", "b/x", "b/x#1", "x", "x#", "x#1a", "x1", "y"]


def test_removing_orphans_of_what_is_not_there_is_fine(storage: Storage) -> None:
    storage.remove_orphans("nowhere/x")
    storage.remove_orphans_in("nowhere")
    storage.remove_orphans_in("")


def test_a_put_without_room_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(1 << 20) as disk:
        storage = Storage(disk / "root")
        storage.put("a/b", b"before")
        big = tmp_path / "big"
        big.write_bytes(bytes(2 << 20))
        for content in (big, big.read_bytes()):
            with pytest.raises(StorageError, match=r"a/b: cannot be written: No space left on device$"):
                storage.put("a/b", content)
            assert storage.get("a/b") == b"before"
            assert names(disk) == ["root", "root/a", "root/a/b"]
        storage.put("a/b", b"after")
        assert storage.get("a/b") == b"after"


def test_a_copy_without_room_leaves_what_was_there() -> None:
    with small_disk(1 << 20) as disk:
        storage = Storage(disk)
        storage.put("big", bytes(700_000))
        storage.put("b", b"before")
        with pytest.raises(StorageError, match=r"big: cannot be copied: No space left on device$"):
            storage.copy("big", "b")
        assert storage.get("b") == b"before"
        assert names(disk) == ["b", "big"]


def test_a_copy_replaces_what_is_there_and_stands_on_its_own(storage: Storage) -> None:
    storage.put("a/one", b"1")
    storage.put("b/two", b"22")
    for _ in range(2):
        storage.copy("a/one", "b/two")
    storage.copy("a/one", "new/three")
    storage.put("a/one", b"changed")
    assert [storage.get(key) for key in ("b/two", "new/three")] == [b"1", b"1"]


def test_a_copy_in_a_folder_shares_nothing_with_its_source(root: Path) -> None:
    storage = Storage(root)
    storage.put("a", b"1")
    storage.copy("a", "b")
    with (root / "a").open("ab") as file:
        file.write(b"edited in place")
    assert storage.get("b") == b"1"


def test_a_copy_onto_itself_changes_nothing(storage: Storage) -> None:
    storage.put("a", b"1")
    storage.copy("a", "a")
    assert storage.get("a") == b"1"
    storage.remove_orphans_in("")
    assert storage.list("") == ["a"]


def test_a_copy_of_what_is_not_there_is_one_clear_line(storage: Storage) -> None:
    storage.put("b", b"before")
    for target in ("b", "a"):
        with pytest.raises(StorageError, match="/a: cannot be copied") as caught:
            storage.copy("a", target)
        assert "\n" not in str(caught.value)
    assert storage.get("b") == b"before"
    assert storage.list("") == ["b"]


@pytest.mark.parametrize("key", ["../x", "a/../x", "a//b", "/a", "a/", "", ".", "a\0b", "a#1"])
def test_a_key_that_names_no_file_of_the_folder_is_refused(root: Path, key: str) -> None:
    storage = Storage(root)
    storage.put("a", b"1")
    for write in (lambda: storage.put(key, b"2"), lambda: storage.copy("a", key), lambda: storage.remove_orphans(key)):
        with pytest.raises(StorageError, match="is no name for a file") as caught:
            write()
        assert "\n" not in str(caught.value)
    assert names(root.parent) == ["root", "root/a"]


def test_threads_that_put_one_key_leave_one_of_their_files(root: Path) -> None:
    storage = Storage(root)
    versions = [os.urandom(100_000) for _ in range(8)]
    threads = [threading.Thread(target=storage.put, args=("a/b", version)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.get("a/b") in versions
    assert names(root) == ["a", "a/b"]


def test_storage_in_memory_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("memory:///")
    storage.put("a", b"1")
    assert storage.get("a") == b"1"
    assert names(tmp_path) == []


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
