from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stac_manager.errors import StorageError
from stac_manager.storage import Storage
from tests.storage.processes import kill, other_process, said, tell

HOLD = """
import sys
from stac_manager.storage import Storage
with Storage(sys.argv[1]).lock("locks/a"):
    print("held", flush=True)
    input()
print("freed", flush=True)
"""

COUNT_UP = """
import sys
from stac_manager.storage import Storage
storage = Storage(sys.argv[1])
print("ready", flush=True)
input()
for _ in range(50):
    with storage.lock("locks/a"):
        storage.put("count", str(int(storage.get("count")) + 1).encode())
print("done", flush=True)
"""

FORK_UNDER_A_LOCK = """
import os, signal, sys, time
from stac_manager.storage import Storage
storage = Storage(sys.argv[1])
with storage.lock("locks/a"):
    child = os.fork()
    if not child:
        time.sleep(600)
try:
    with storage.lock("locks/a", wait=0):
        pass
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print("free", flush=True)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "root")


def is_free(storage: Storage, key: str = "locks/a") -> bool:
    """Whether a thread of its own can take the lock at once."""
    taken: list[bool] = []

    def take() -> None:
        try:
            with storage.lock(key, wait=0):
                taken.append(True)
        except StorageError:
            taken.append(False)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken == [True]


def test_a_lock_keeps_other_threads_out_until_its_block_ends(storage: Storage) -> None:
    with storage.lock("locks/a") as lock:
        lock.require()
        assert not is_free(storage)
        assert is_free(storage, "locks/b")
    assert is_free(storage)


def test_a_lock_is_free_after_an_error(storage: Storage) -> None:
    with pytest.raises(RuntimeError), storage.lock("locks/a"):
        raise RuntimeError
    assert is_free(storage)


def test_a_thread_that_holds_a_lock_takes_it_again_at_once(storage: Storage) -> None:
    same = Storage(f"file://{storage.root}/")
    with storage.lock("locks/a") as lock:
        with same.lock("locks/a", wait=0) as again:
            assert again is lock
        assert not is_free(storage)
    assert is_free(storage)


def test_a_lock_of_a_killed_process_is_free(storage: Storage) -> None:
    with other_process(HOLD, storage.root) as process:
        assert said(process) == "held"
        assert not is_free(storage)
        kill(process)
        assert is_free(storage)


def test_who_has_waited_for_long_enough_is_told_in_one_line(storage: Storage) -> None:
    told: list[str] = []
    with other_process(HOLD, storage.root) as process:
        assert said(process) == "held"
        expected = f"^{storage.root}/locks/a: another run is writing it; try again when it is done$"
        with (
            pytest.raises(StorageError, match=expected),
            storage.lock("locks/a", wait=0.5, waiting=lambda: told.append("waiting")),
        ):
            pass
    assert told == ["waiting"]


def test_who_waits_goes_on_when_the_other_is_done(storage: Storage) -> None:
    with other_process(HOLD, storage.root) as process:
        assert said(process) == "held"
        with storage.lock("locks/a", waiting=lambda: tell(process)):
            assert said(process) == "freed"


def test_who_need_not_wait_is_told_nothing(storage: Storage) -> None:
    with storage.lock("locks/a", waiting=lambda: pytest.fail("it waited")):
        pass


def test_of_many_processes_only_one_writes_at_a_time(storage: Storage) -> None:
    storage.put("count", b"0")
    with (
        other_process(COUNT_UP, storage.root) as a,
        other_process(COUNT_UP, storage.root) as b,
        other_process(COUNT_UP, storage.root) as c,
    ):
        processes = (a, b, c)
        assert [said(process) for process in processes] == ["ready"] * 3
        for process in processes:
            tell(process)
        assert [said(process) for process in processes] == ["done"] * 3
    assert storage.get("count") == b"150"


def test_a_program_started_under_a_lock_does_not_keep_it(storage: Storage) -> None:
    with storage.lock("locks/a"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert is_free(storage)
    finally:
        child.communicate(b"\n")


def test_a_forked_child_does_not_keep_a_lock(storage: Storage) -> None:
    with other_process(FORK_UNDER_A_LOCK, storage.root) as process:
        assert said(process) == "free"


def test_a_lock_does_not_change_its_file(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "root" / "locks" / "a"
    storage.put("locks/a", b"here before")
    os.utime(path, (1, 1))
    before = path.stat()
    with storage.lock("locks/a"):
        pass
    assert path.read_bytes() == b"here before"
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_place_that_cannot_be_locked_is_one_clear_line(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "root" / "folder").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"folder: cannot be locked: Is a directory$"), storage.lock("folder"):
        pass
