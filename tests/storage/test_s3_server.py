"""What other tests and the benchmarks build on: a server that honours conditions, and a proxy that counts truly."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store, from_url

from benchmarks.s3_proxy import Call, CountingProxy, counting_proxy, proxy_process, s3_environment

pytestmark = pytest.mark.s3


@pytest.fixture
def store(s3_calls: CountingProxy, s3_url: str, request: pytest.FixtureRequest) -> S3Store:
    found = from_url(f"{s3_url}/{request.node.name}")
    assert isinstance(found, S3Store)
    return found


def test_an_object_is_created_only_once(store: S3Store) -> None:
    obstore.put(store, "a", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "a", b"second", mode="create")
    assert bytes(obstore.get(store, "a").bytes()) == b"first"


def test_an_object_is_replaced_only_in_the_version_that_was_read(store: S3Store) -> None:
    version = obstore.put(store, "a", b"first")["e_tag"]
    obstore.put(store, "a", b"second", mode={"e_tag": version})
    with pytest.raises(PreconditionError):
        obstore.put(store, "a", b"third", mode={"e_tag": version})
    assert bytes(obstore.get(store, "a").bytes()) == b"second"


def test_of_many_that_create_one_object_at_once_one_is_first(store: S3Store) -> None:
    def create(number: int) -> bool:
        try:
            obstore.put(store, "a", str(number).encode(), mode="create")
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        created = list(threads.map(create, range(64)))
    assert created.count(True) == 1
    assert int(obstore.get(store, "a").bytes()) == created.index(True)


def test_a_long_listing_is_sorted_and_starts_after_a_key(store: S3Store, s3_calls: CountingProxy) -> None:
    keys = [f"many/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: obstore.put(store, key, b""), reversed(keys)))
    s3_calls.reset()
    assert [meta["path"] for batch in obstore.list(store, "many") for meta in batch] == keys
    assert s3_calls.counts() == {"LIST": 2}
    after = [meta["path"] for batch in obstore.list(store, "many", offset=keys[-3]) for meta in batch]
    assert after == keys[-2:]


def test_each_call_is_counted_by_kind_and_key(store: S3Store, s3_calls: CountingProxy) -> None:
    folder = str(store.prefix)
    obstore.put(store, "a b/ü#1", b"12345")
    obstore.put(store, "b", b"", mode="create")
    assert bytes(obstore.get_range(store, "a b/ü#1", start=1, length=2)) == b"23"
    assert obstore.head(store, "a b/ü#1")["size"] == 5
    obstore.copy(store, "b", "c")
    obstore.delete(store, ["b", "a b/ü#1"])
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "b")
    assert [meta["path"] for batch in obstore.list(store, "c") for meta in batch] == []
    assert s3_calls.calls == [
        Call("PUT", f"{folder}/a b/ü#1"),
        Call("PUT", f"{folder}/b", "If-None-Match: *"),
        Call("GET", f"{folder}/a b/ü#1"),
        Call("HEAD", f"{folder}/a b/ü#1"),
        Call("COPY", f"{folder}/c"),
        Call("BULK_DELETE", f"{folder}/b\n{folder}/a b/ü#1"),
        Call("GET", f"{folder}/b"),
        Call("LIST", f"{folder}/c/"),
    ]
    s3_calls.reset()
    assert s3_calls.counts() == {}


def test_a_large_object_comes_through_as_it_is(store: S3Store, s3_calls: CountingProxy) -> None:
    content = bytes(range(256)) * (11 << 12)
    obstore.put(store, "large", content)
    assert bytes(obstore.get(store, "large").bytes()) == content
    assert s3_calls.counts() == {"MULTIPART": 5, "GET": 1}


def test_calls_at_the_same_time_wait_at_the_same_time(store: S3Store, s3_calls: CountingProxy) -> None:
    s3_calls.delay_ms = 1000
    begin = time.monotonic()

    def put(number: int) -> int:
        obstore.put(store, str(number), b"")
        return len(s3_calls.calls)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(put, range(8))) == [8] * 8, "all had come before the first was answered"
    assert time.monotonic() - begin >= 1


def test_a_call_whose_answer_is_lost_was_done(store: S3Store, s3_calls: CountingProxy) -> None:
    s3_calls.lose_answer = lambda call: len(s3_calls.calls) == 1
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "a", b"mine", mode="create")
    assert bytes(obstore.get(store, "a").bytes()) == b"mine"
    assert s3_calls.counts() == {"PUT": 2, "GET": 1}


def test_a_proxy_in_another_process_counts_the_same(
    s3_calls: CountingProxy, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy_process(s3_calls.url, 0.0, tmp_path) as proxy, counting_proxy(proxy.url) as before:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_environment(before.url)["AWS_ENDPOINT_URL"])
        obstore.put(from_url(f"{s3_url}/elsewhere"), "a", b"")
        assert proxy.calls == before.calls == s3_calls.calls == [Call("PUT", "elsewhere/a")]
        assert proxy.counts() == {"PUT": 1}
        proxy.reset()
        assert (proxy.calls, len(before.calls)) == ([], 1)
