from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from benchmarks.s3_proxy import Call, CountingProxy, counting_proxy
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

COUNT_UP = """
import sys, time
import obstore
from stac_manager import locks
from stac_manager.storage import Storage
locks.LEASE_SECONDS = float(sys.argv[2])
storage = Storage(sys.argv[1])
print("ready", flush=True)
input()
for key in sys.argv[3:]:
    with storage.lock(key) as lock:
        obstore.put(storage._store, "alone", b"", mode="create")
        count = int(storage.get("count"))
        lock.require()
        storage.put("count", str(count + 1).encode())
        storage.delete("alone")
print("done", flush=True)
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
def counted(bucket: Storage, s3_calls: CountingProxy) -> Storage:
    """The same bucket, known to honour conditions, with its calls counted from now on."""
    found = Storage(bucket.root)
    with found.lock("locks/another"):
        pass
    s3_calls.reset()
    return found


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
    memory: Storage, instead: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory.lock(KEY) as lock:
        lock.require()
        memory.put(KEY, instead) if instead else memory.delete(KEY)
        monkeypatch.setattr(locks, "LEASE_SECONDS", 1000.0)  # of which less than half is left now
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
    with other_process(HOLD, bucket.root, 2) as process:
        assert said(process) == "held"
        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(locks, "LEASE_SECONDS", 2.0)
        with bucket.lock(KEY) as lock:
            process.send_signal(signal.SIGCONT)
            tell(process)
            assert said(process).endswith("locks/a: another run has taken over; try again when it is done")
            assert said(process) == "freed"
            lock.require()


@pytest.mark.s3
def test_the_first_lease_of_a_process_tests_that_the_store_honours_conditions(
    s3_url: str, s3_calls: CountingProxy
) -> None:
    with Storage(f"{s3_url}/first").lock(KEY):
        assert s3_calls.counts() == {"GET": 1, "PUT": 3}
        conditions = [call.condition for call in s3_calls.calls if call.kind == "PUT"]
        assert conditions == ["If-None-Match: *", "If-None-Match: *", 'If-Match: "none"']


@pytest.mark.s3
def test_a_lease_costs_a_call_to_acquire_and_one_to_free(counted: Storage, s3_calls: CountingProxy) -> None:
    with counted.lock(KEY) as lock:
        for _ in range(10):
            lock.require()
        assert [(call.kind, call.condition) for call in s3_calls.calls] == [("PUT", "If-None-Match: *")]
    assert s3_calls.counts() == {"PUT": 1, "BULK_DELETE": 1}
    assert counted.get(KEY) is None


@pytest.mark.s3
def test_a_lease_of_which_less_than_half_is_left_is_renewed_where_it_is_required(
    counted: Storage, s3_calls: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted.lock(KEY) as lock:
        s3_calls.reset()
        monkeypatch.setattr(locks, "LEASE_SECONDS", 1000.0)
        lock.require()
        assert [(call.kind, call.condition[:9]) for call in s3_calls.calls] == [("PUT", "If-Match:")]
        assert json.loads(counted.get(KEY) or b"")["renewals"] == 2


@pytest.mark.s3
@pytest.mark.parametrize("clock", [0, 1], ids=["that counts sleep", "of the system"])
def test_a_lease_is_renewed_where_it_is_required_if_one_clock_says_that_the_machine_has_slept(
    counted: Storage, s3_calls: CountingProxy, monkeypatch: pytest.MonkeyPatch, clock: int
) -> None:
    clocks = locks._clocks

    def after_sleep() -> tuple[float, float]:
        now = list(clocks())
        now[clock] += 0.6 * locks.LEASE_SECONDS
        return now[0], now[1]

    with counted.lock(KEY) as lock:
        monkeypatch.setattr(locks, "_clocks", after_sleep)
        for _ in range(3):
            lock.require()
        assert [call.condition[:9] for call in s3_calls.calls] == ["If-None-M", "If-Match:"]


@pytest.mark.s3
def test_a_write_without_an_answer_is_recognised(
    counted: Storage, s3_calls: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Call] = []

    def is_first_of_its_kind(call: Call) -> bool:
        new = call.kind == "PUT" and call.condition[:9] not in [one.condition[:9] for one in lost]
        lost.extend([call] * new)
        return new

    s3_calls.lose_answer = is_first_of_its_kind
    with counted.lock(KEY, wait=0) as lock:
        assert s3_calls.counts() == {"PUT": 2, "GET": 1}
        monkeypatch.setattr(locks, "LEASE_SECONDS", 1000.0)
        lock.require()
        assert s3_calls.counts() == {"PUT": 4, "GET": 2}
    assert len(lost) == 2
    assert counted.get(KEY) is None


@pytest.mark.s3
def test_a_deletion_without_an_answer_does_not_hit_the_next_holder(
    bucket: Storage, counted: Storage, s3_calls: CountingProxy
) -> None:
    def another_acquires(call: Call) -> bool:
        if call.kind == "BULK_DELETE":
            bucket.put(KEY, b"the lease of another")
        return call.kind == "BULK_DELETE"

    s3_calls.lose_answer = another_acquires
    with counted.lock(KEY):
        pass
    assert bucket.get(KEY) == b"the lease of another"
    assert s3_calls.counts()["BULK_DELETE"] == 1


@pytest.mark.s3
def test_a_deletion_that_failed_is_repeated_while_the_lease_is_ours(
    bucket: Storage, counted: Storage, s3_calls: CountingProxy
) -> None:
    lease = b""

    def is_not_done(call: Call) -> bool:
        first = call.kind == "BULK_DELETE" and s3_calls.counts()["BULK_DELETE"] == 1
        if first:
            bucket.put(KEY, lease)
        return first

    with counted.lock(KEY):
        lease = bucket.get(KEY) or b""
        s3_calls.lose_answer = is_not_done
    assert s3_calls.counts()["BULK_DELETE"] == 2
    assert bucket.get(KEY) is None


@pytest.mark.s3
def test_on_a_store_that_ignores_conditions_each_step_is_read_back(
    unconditional_bucket: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counting_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with Storage(unconditional_bucket.root).lock(KEY) as lock:
            assert [call.kind for call in proxy.calls] == ["GET", "PUT", "PUT", "GET", "GET"]
            proxy.reset()
            lock.require()
            assert [call.kind for call in proxy.calls] == ["GET", "PUT", "GET"]
            proxy.reset()
        assert [call.kind for call in proxy.calls] == ["GET", "BULK_DELETE"]


@pytest.mark.usefixtures("locked_elsewhere")
def test_who_waits_tries_often_at_first_and_less_often_the_longer_it_waits(memory: Storage) -> None:
    pauses: list[float] = []

    class Recorded(locks.WaitPolicy):
        def pause(self, seconds: float) -> None:
            pauses.append(seconds)
            super().pause(seconds)

    target = locks.LeaseObject(memory._store, KEY, "place", lambda: memory._failing("locked", KEY))
    with pytest.raises(StorageError), locks.lease(target, Recorded("place", 1.5, None)):
        pass
    assert pauses[:2] == [0.1, 0.1]
    assert pauses == sorted(pauses)
    assert 0.1 < pauses[-1] <= locks.LEASE_SECONDS / 30


@pytest.mark.s3
def test_of_processes_that_race_for_a_lease_only_one_at_a_time_has_it(bucket: Storage) -> None:
    bucket.put("count", b"0")
    check_race(bucket, 60, [KEY] * 12)
    assert bucket.get("count") == b"36"


@pytest.mark.s3
def test_of_processes_that_take_over_leases_at_once_one_is_first(bucket: Storage) -> None:
    bucket.put("count", b"0")
    keys = [f"locks/{number}" for number in range(3)]
    for key in keys:
        bucket.put(key, b"left by a killed run")
    check_race(bucket, 2, keys)
    assert bucket.get("count") == b"9"


def check_race(bucket: Storage, lease_seconds: float, keys: list[str]) -> None:
    """Three processes lock these keys in turn; while one does, it must be alone."""
    with ExitStack() as stack:
        processes = [stack.enter_context(other_process(COUNT_UP, bucket.root, lease_seconds, *keys)) for _ in range(3)]
        assert [said(process) for process in processes] == ["ready"] * 3
        for process in processes:
            tell(process)
        assert [said(process) for process in processes] == ["done"] * 3
    assert bucket.list("locks") == []
