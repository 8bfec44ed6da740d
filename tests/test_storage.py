from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stac_manager.errors import StorageError
from stac_manager.storage import Storage
from tests.conftest import need


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on a real server that speaks S3."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    need(rclone is not None, "rclone is not installed")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "catalogs").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(rclone), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        _wait_for(port)
        yield "s3://catalogs"
    finally:
        server.terminate()
        server.wait(timeout=10)
        os.environ.clear()
        os.environ.update(before)


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the S3 server did not start")


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
