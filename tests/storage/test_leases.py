from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from stac_manager import locks
from stac_manager.errors import StorageError
from stac_manager.storage import Storage
from tests.storage.processes import kill, other_process, said, tell

KEY = "locks/a"

HOLD = """
import sys
from stac_manager import locks
from stac_manager.errors import StorageError
from stac_manager.storage import Storage
locks.LEASE_SECONDS = float(sys.argv[2])
with Storage(sys.argv[1]).lock("locks/a") as lock:
    lock.require()
    print("held", flush=True)
    input()
    try:
        lock.require()
        print("still held", flush=True)
    except StorageError as error:
        print(error, flush=True)
print("freed", flush=True)
"""


@pytest.fixture
def memory() -> Storage:
    return Storage("memory:///")


@pytest.fixture
def bucket(s3_url: str, request: pytest.FixtureRequest) -> Storage:
    return Storage(f"{s3_url}/{request.node.name}")


@pytest.fixture
def unconditional_bucket(unconditional_s3_url: str, request: pytest.FixtureRequest) -> Storage:
    return Storage(f"{unconditional_s3_url}/{request.node.name}")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that do not last."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.5)


@pytest.fixture
def locked_elsewhere(memory: Storage) -> Iterator[threading.Event]:
    """Another thread holds the lock until the event is set."""
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with memory.lock(KEY):
            held.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield end
    end.set()
    thread.join()


def test_a_lease_says_who_holds_it_and_is_gone_after(memory: Storage) -> None:
    with memory.lock(KEY) as lock:
        lock.require()
        lease = json.loads(memory.get(KEY) or b"")
        assert set(lease) == {"lease", "host", "process", "renewals"}
    assert memory.get(KEY) is None


def test_a_lease_is_gone_after_an_error(memory: Storage) -> None:
    with pytest.raises(RuntimeError), memory.lock(KEY):
        raise RuntimeError
    assert memory.get(KEY) is None


def test_a_thread_that_holds_a_lease_takes_it_again_at_once(memory: Storage) -> None:
    with memory.lock(KEY) as lock, memory.lock(KEY, wait=0) as again:
        assert again is lock


def test_two_stores_in_memory_have_nothing_in_common(memory: Storage) -> None:
    another = Storage("memory:///")
    with memory.lock(KEY), another.lock(KEY, wait=0):
        assert another.get(KEY) != memory.get(KEY)


def test_who_has_waited_for_long_enough_is_told_in_one_line(memory: Storage, locked_elsewhere: threading.Event) -> None:
    told: list[str] = []
    expected = "^memory:///locks/a: another run is writing it; try again when it is done$"
    with (
        pytest.raises(StorageError, match=expected),
        memory.lock(KEY, wait=0.2, waiting=lambda: told.append("waiting")),
    ):
        pass
    assert told == ["waiting"]
    assert memory.get(KEY) is not None, "the lease of the other is untouched"


def test_who_waits_goes_on_when_the_other_is_done(memory: Storage, locked_elsewhere: threading.Event) -> None:
    with memory.lock(KEY, waiting=locked_elsewhere.set) as lock:
        lock.require()


def test_of_many_threads_only_one_writes_at_a_time(memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 10.0)
    memory.put("count", b"0")

    def count_up() -> None:
        for _ in range(4):
            with memory.lock(KEY) as lock:
                count = int(memory.get("count") or b"")
                time.sleep(0.01)  # long enough for another to come in between, if it could
                lock.require()
                memory.put("count", str(count + 1).encode())

    threads = [threading.Thread(target=count_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.get("count") == b"12"


@pytest.mark.usefixtures("short")
def test_a_lease_is_renewed_as_long_as_it_is_held(memory: Storage) -> None:
    seen = set()
    with memory.lock(KEY):
        while len(seen) < 4:
            seen.add(memory.get(KEY))
            time.sleep(0.01)
    assert None not in seen


@pytest.mark.usefixtures("short")
def test_a_lease_that_nobody_renews_is_taken_over(memory: Storage) -> None:
    memory.put(KEY, b"left by a killed run")
    with memory.lock(KEY) as lock:
        lock.require()
        assert memory.get(KEY) != b"left by a killed run"
    assert memory.get(KEY) is None


def test_a_lease_that_somebody_renews_is_not_taken_over(memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 3.0)
    memory.put(KEY, b"0")
    end = threading.Event()

    def renew() -> None:
        count = 0
        while not end.wait(0.02):
            count += 1
            memory.put(KEY, str(count).encode())

    other = threading.Thread(target=renew)
    other.start()
    with pytest.raises(StorageError, match="another run is writing it"), memory.lock(KEY, wait=4.0):
        pass
    end.set()
    other.join()
    assert (memory.get(KEY) or b"").isdigit()


@pytest.mark.parametrize("instead", [b"the lease of another", None])
def test_a_holder_that_lost_its_lease_is_told_and_leaves_it_to_the_other(
    memory: Storage, instead: bytes | None
) -> None:
    with memory.lock(KEY) as lock:
        lock.require()
        memory.put(KEY, instead) if instead else memory.delete(KEY)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"^memory:///locks/a: another run has taken over; try again"):
                lock.require()
    assert memory.get(KEY) == instead


def test_of_two_that_take_over_one_lease_one_is_first(memory: Storage) -> None:
    """The write of the second is made against a version that is no more."""
    memory.put(KEY, b"left by a killed run")
    target = locks.LeaseObject(memory._store, KEY, "place", lambda: memory._failing("locked", KEY))
    found = target.read()
    assert found is not None
    assert target.write(b"first", found[1])
    assert not target.write(b"second", found[1])
    assert not target.write(b"third", "create")
    assert memory.get(KEY) == b"first"


@pytest.mark.s3
def test_a_store_without_conditional_writes_is_one_clear_line(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    storage = Storage(f"{s3_url}/without")
    expected = "^s3://catalogs/without/locks/a: cannot be locked: the store does not support conditional writes$"
    with pytest.raises(StorageError, match=expected), storage.lock(KEY):
        pass


@pytest.mark.s3
def test_a_store_that_ignores_conditions_is_told_of_once(
    unconditional_bucket: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = unconditional_bucket
    for _ in range(2):
        with bucket.lock(KEY) as lock:
            lock.require()
            assert bucket.get(KEY) is not None
        assert bucket.get(KEY) is None
    assert caplog.text.count("ignores the conditions of a write") == 1


@pytest.mark.s3
def test_a_lease_in_a_bucket_keeps_other_processes_out_until_it_ends(bucket: Storage) -> None:
    with other_process(HOLD, bucket.root, 60) as process:
        assert said(process) == "held"
        with pytest.raises(StorageError, match="another run is writing it"), bucket.lock(KEY, wait=0):
            pass
        with bucket.lock(KEY, waiting=lambda: tell(process)) as lock:
            lock.require()
            assert (said(process), said(process)) == ("still held", "freed")


@pytest.mark.s3
def test_a_lease_of_a_killed_process_is_taken_over(bucket: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with other_process(HOLD, bucket.root, 60) as process:
        assert said(process) == "held"
        kill(process)
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    with bucket.lock(KEY) as lock:
        lock.require()


@pytest.mark.s3
def test_a_process_that_slept_through_its_lease_is_told(bucket: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with other_process(HOLD, bucket.root, 60) as process:
        assert said(process) == "held"
        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(locks, "LEASE_SECONDS", 2.0)
        with bucket.lock(KEY) as lock:
            process.send_signal(signal.SIGCONT)
            tell(process)
            assert said(process).endswith("locks/a: another run has taken over; try again when it is done")
            assert said(process) == "freed"
            lock.require()
