from __future__ import annotations

import os
from pathlib import Path

import pytest

from stac_manager.errors import StorageError
from stac_manager.storage import Storage


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage(tmp_path / "root")
    return Storage(f"{request.getfixturevalue('s3_url')}/{tmp_path.name}")


def test_what_was_put_is_got_back(storage: Storage, tmp_path: Path) -> None:
    storage.put("a/b.txt", b"one")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(12_000_000))
    storage.put("a/big.bin", big)
    assert storage.get("a/b.txt") == b"one"
    assert storage.size("a/big.bin") == 12_000_000
    with storage.local_copy("a/big.bin") as path:
        assert path.read_bytes() == big.read_bytes()


def test_a_put_replaces_the_whole(storage: Storage) -> None:
    storage.put("a", b"a longer text")
    storage.put("a", b"short")
    assert storage.get("a") == b"short"


def test_what_is_not_there_is_none(storage: Storage) -> None:
    assert storage.get("nothing") is None
    assert storage.size("nothing") is None
    storage.delete("nothing")
    with pytest.raises(StorageError, match="nothing"), storage.local_copy("nothing"):
        pass


def test_list_gives_every_key_below_a_prefix_sorted(storage: Storage) -> None:
    for key in ("x/b", "x/a/c", "xy/d", "z"):
        storage.put(key, b"1")
    assert storage.list("x") == ["x/a/c", "x/b"]
    storage.delete("x/b")
    assert storage.list("x") == ["x/a/c"]


def test_odd_collection_names_stay_apart_and_inside(tmp_path: Path) -> None:
    from stac_manager.items import safe_name

    storage = Storage(tmp_path / "root")
    names = ["a/b", "a=2Fb", "..", ".", "a b", "ü", "a%2Fb", "A*?", "x" * 300, "x" * 299 + "y", "con:\\"]
    for number, name in enumerate(names):
        storage.put(f"stages/{safe_name(name)}/f", str(number).encode())
    assert [storage.get(f"stages/{safe_name(name)}/f") for name in names] == [
        str(n).encode() for n in range(len(names))
    ]
    assert len(list((tmp_path / "root" / "stages").iterdir())) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be") as caught:
        Storage(tmp_path / "file" / "below").put("a", b"1")
    assert "\n" not in str(caught.value)
