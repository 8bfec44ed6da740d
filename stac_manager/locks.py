"""Mutual exclusion of writers, between threads, processes and, on an object store, hosts.

In a local folder the lock is a file lock of the operating system, which frees it whenever the process ends. On an
object store the lock is a lease: an object that its holder renews. Another run may acquire the lease once it has seen
the object unchanged for `LEASE_SECONDS`. Each run measures the time with its own clock, so the clocks of hosts may
differ. All runs must have the same `LEASE_SECONDS`.

The store must honour the conditions of a write. This is tested once in a process, after that each step costs one call:
the condition says who was first. On a store that ignores conditions, each step is read back.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

from stac_manager.errors import StorageError
from stac_manager.items import dumps

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

__all__ = [
    "LEASE_SECONDS",
    "SETTLE_SECONDS",
    "LeaseObject",
    "Lock",
    "WaitPolicy",
    "file_lock",
    "ignores_conditions",
    "lease",
    "reentrant",
]

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""How long a lease must stay unchanged until it counts as left by a killed run."""

SETTLE_SECONDS = 0.5
"""How long a new lease must stay unchanged on a store that ignores the conditions of a write."""

_FILE_POLL = 0.1
"""Seconds between two tries to lock a file."""

_FIRST_POLL = 0.1
"""Seconds between the first two tries to acquire a lease: most are held for less than a second."""

_POLL_SHARE = 0.25
"""What may be lost by polling more and more rarely, as a share of the time that was waited."""


class Lock:
    """A lock that is held."""

    def require(self) -> None:
        """Make sure that the lock is still held; call it right before a write that must not collide with another.

        On an object store, at least half of `LEASE_SECONDS` is left then; the lease is renewed if less was left. A
        process that is paused for longer between this and its write is not protected.

        Raises:
            StorageError: another run holds the lock by now, or the store does not answer.
        """


class WaitPolicy:
    """How long to wait for another writer, and whom to tell about it."""

    def __init__(self, place: str, wait: float, waiting: Callable[[], None] | None) -> None:
        self.place = place
        self._deadline = time.monotonic() + wait
        self._waiting = waiting

    def pause(self, seconds: float) -> None:
        """Wait a little.

        Raises:
            StorageError: the time to wait is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise StorageError(f"{self.place}: another run is writing it; try again when it is done")
        if self._waiting:
            self._waiting()
            self._waiting = None
        time.sleep(min(seconds, left))


_of_thread = threading.local()


@contextmanager
def reentrant(name: str, take: Callable[[], AbstractContextManager[Lock]]) -> Iterator[Lock]:
    """A lock that this thread takes only if it does not hold one of this name already."""
    held: dict[tuple[int, str], Lock] = _of_thread.__dict__.setdefault("held", {})
    key = (os.getpid(), name)  # a forked child does not hold its parent's locks
    if key in held:
        yield held[key]
        return
    with take() as lock:
        held[key] = lock
        try:
            yield lock
        finally:
            del held[key]


@contextmanager
def file_lock(
    path: Path, wait_policy: WaitPolicy, failing: Callable[[], AbstractContextManager[None]]
) -> Iterator[Lock]:
    """Lock a local file. The file is created if it is missing, and is never written or deleted.

    Raises:
        StorageError: it cannot be locked, or another writer did not end in time.
    """
    while True:
        with failing():
            descriptor = _locked(path)
        if descriptor is not None:
            break
        wait_policy.pause(_FILE_POLL)
    try:
        yield Lock()
    finally:
        try:
            # closing does not unlock while a forked child has the descriptor too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """The descriptor of the file, now locked; None if another writer has the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@dataclass(frozen=True, slots=True)
class LeaseObject:
    """The object that represents a lock; its conditional writes decide who was first."""

    store: ObjectStore
    key: str
    place: str
    failing: Callable[[], AbstractContextManager[None]]
    """Turns what obstore raises into a `StorageError`."""

    store_without_retries: ObjectStore | None = None
    """Sends each call only once; for deletions."""

    @property
    def root(self) -> str:
        """The place of the store."""
        return self.place.removesuffix(f"/{self.key}")

    @property
    def is_conditional(self) -> bool:
        """Whether the store is known to honour the conditions of a write."""
        return self.root in _conditional

    def read(self) -> tuple[bytes, UpdateVersion] | None:
        """The object's content and version; None if there is no object."""
        with self.failing():
            try:
                result = obstore.get(self.store, self.key)
            except FileNotFoundError:
                return None
            return bytes(result.bytes()), _version(result.meta["e_tag"], result.meta["version"])

    def write(self, content: bytes, mode: Literal["create"] | UpdateVersion) -> UpdateVersion | None:
        """Write on a condition; returns the version of the object if it then has exactly this content.

        The object is read back where the answer to the write is not reliable: a request that was sent twice fails on
        its own first write, and some stores ignore the condition.
        """
        version = self._put(content, mode)
        if version and (self.is_conditional or (mode == "create" and self.test_conditions(content))):
            return version
        found = self.read()
        return found[1] if found and found[0] == content else None

    def test_conditions(self, content: bytes) -> bool:
        """Whether the store rejects what it must: to create an object that exists, or to replace an unknown version.

        A store that does so is not tested again in this process.

        Args:
            content: what the object has, so that nothing changes on a store that ignores conditions.
        """
        if not self.is_conditional and not self._put(content, "create") and not self._put(content, _NO_VERSION):
            _conditional.add(self.root)
        elif not self.is_conditional:
            _unconditional.add(self.root)
        return self.is_conditional

    def delete(self) -> None:
        """Remove the object. The call is not repeated, as another run may have created the object by then."""
        with self.failing():
            obstore.delete(self.store_without_retries or self.store, self.key)

    def _put(self, content: bytes, mode: Literal["create"] | UpdateVersion) -> UpdateVersion | None:
        """The new version; None if the store rejected the write."""
        with self.failing():
            try:
                result = obstore.put(self.store, self.key, content, mode=mode)
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if mode == "create":
                    raise  # there is no such bucket
                return None
            except (NotImplementedError, NotSupportedError):
                raise StorageError(
                    f"{self.place}: cannot be locked: the store does not support conditional writes"
                ) from None
        return _version(result["e_tag"], result["version"])


_conditional: set[str] = set()
"""The places of stores that honour the conditions of a write."""

_unconditional: set[str] = set()
"""The places of stores that were seen to ignore them."""


def ignores_conditions(root: str) -> bool:
    """Whether a store was seen to ignore the conditions of a write, when this process took a lock there."""
    return root in _unconditional


_NO_VERSION: UpdateVersion = {"e_tag": '"none"', "version": "0"}
"""A version that no object has: S3 and Azure compare the first, Google the second."""


def _version(e_tag: str | None, version: str | None) -> UpdateVersion:
    return {"e_tag": e_tag} if version is None else {"e_tag": e_tag, "version": version}


@contextmanager
def lease(target: LeaseObject, wait_policy: WaitPolicy) -> Iterator[Lock]:
    """Hold a lease; a separate thread renews it.

    Raises:
        StorageError: the store does not support leases, or another writer did not end in time.
    """
    held = _Lease(target)
    try:
        held.acquire(wait_policy)
        threading.Thread(target=held.keep, name="stac-manager-lease", daemon=True).start()
        yield held
    finally:
        held.release()


def _clocks() -> tuple[float, float]:
    """The seconds of two clocks: one that also counts while the machine sleeps, and one that is set after a pause."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)), time.time()


class _Lease(Lock):
    """A lease of this run, with a unique name."""

    def __init__(self, target: LeaseObject) -> None:
        self._target = target
        self._name = uuid.uuid4().hex
        self._count = 0
        self._version: UpdateVersion | None = None
        """Of the last write whose success is known."""
        self._unknown = False
        """Whether a write may have succeeded without an answer."""
        self._renewed = _clocks()
        """Right before the last write whose success is known; before there is one, right before the last write."""
        self._lasts = 0.0
        self._lost = False
        self._ended = threading.Event()
        self._one_at_a_time = threading.Lock()

    def acquire(self, wait_policy: WaitPolicy) -> None:
        """Wait for the lease; acquire also one that its holder no longer renews."""
        if self._target.is_conditional and self._try_acquire("create"):
            return
        seen, since = b"", 0.0
        begun = time.monotonic()
        while True:
            found = self._target.read()
            now = time.monotonic()
            if found is None:
                taken = self._try_acquire("create")
            else:
                if found[0] != seen:
                    seen, since = found[0], now
                taken = now - since >= LEASE_SECONDS and self._try_acquire(found[1])
            if taken:
                return
            wait_policy.pause(min(max(_FIRST_POLL, (now - begun) * _POLL_SHARE), LEASE_SECONDS / 30))

    def keep(self) -> None:
        """Renew the lease until it ends or is lost."""
        while not self._lost and not self._ended.wait(LEASE_SECONDS / 3):
            try:
                self._renew()
            except StorageError as error:
                log.warning("%s", error)

    def require(self) -> None:
        """Renew it now, unless half of it is surely left."""
        if not self._lost and not (self._target.is_conditional and self._is_sure()):
            self._renew()
        if self._lost:
            raise StorageError(f"{self._target.place}: another run has taken over; try again when it is done")

    def release(self) -> None:
        """Free the lease; one that may belong to another run by now is not touched."""
        self._ended.set()
        with self._one_at_a_time:
            if self._lost or self._left() <= 0 or (self._version is None and not self._unknown):
                return
            try:
                self._delete()
            except StorageError as error:
                log.warning("%s; it is free again in %.0f seconds", error, LEASE_SECONDS)

    def _try_acquire(self, mode: Literal["create"] | UpdateVersion) -> bool:
        if not self._write(mode):
            return False
        if self._target.is_conditional or (mode != "create" and self._target.test_conditions(self._content())):
            return True
        _tell_of_no_conditions(self._target.root)
        time.sleep(SETTLE_SECONDS)
        return self._is_mine(self._target.read())

    def _renew(self) -> None:
        with self._one_at_a_time:
            if self._lost or self._ended.is_set():
                return
            if not self._rewrite():
                self._lost = True
                log.warning("%s: another run has taken over writing it", self._target.place)

    def _rewrite(self) -> bool:
        if self._target.is_conditional and self._version and self._write(self._version):
            return True
        # an earlier write without an answer may have changed the version
        found = self._target.read()
        return found is not None and self._is_mine(found) and self._write(found[1])

    def _delete(self) -> None:
        if not self._target.is_conditional:
            if self._is_mine(self._target.read()):
                self._target.delete()
            return
        if self._is_sure():
            with suppress(StorageError):
                self._target.delete()
                return
        # a deletion without an answer may have freed it already, and another run may have acquired it
        if self._rewrite():
            self._target.delete()

    def _write(self, mode: Literal["create"] | UpdateVersion) -> bool:
        self._count += 1
        begun = _clocks()
        if self._version is None:
            self._renewed, self._lasts = begun, LEASE_SECONDS
        self._unknown = True
        version = self._target.write(self._content(), mode)
        self._unknown = False
        if version:
            self._version, self._renewed, self._lasts = version, begun, LEASE_SECONDS
        return version is not None

    def _left(self) -> float:
        """How many seconds no other run can acquire it, at least."""
        return self._lasts - max(now - then for now, then in zip(_clocks(), self._renewed, strict=True))

    def _is_sure(self) -> bool:
        """Whether it is ours for long enough for one call to the store."""
        return self._version is not None and self._left() >= LEASE_SECONDS / 2

    def _content(self) -> bytes:
        """Different for each write, because some stores identify a version by its content."""
        who = {"lease": self._name, "host": socket.gethostname(), "process": os.getpid(), "renewals": self._count}
        return dumps(who) + b"\n"

    def _is_mine(self, found: tuple[bytes, UpdateVersion] | None) -> bool:
        return found is not None and self._name.encode() in found[0]


@functools.cache
def _tell_of_no_conditions(root: str) -> None:
    log.warning("%s: the store ignores the conditions of a write; runs that start at the same moment may collide", root)
