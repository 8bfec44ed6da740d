"""Where files are kept: a local folder, or a bucket by `s3://`, `gs://` or `az://`, all through obstore.

Writes are atomic. A local write goes to a staging file, which is renamed once it is on the disk. An object store shows
an object only when its upload is complete. A killed writer may leave a file `<name>#<number>`, which `list` leaves out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError
from obstore.store import LocalStore, MemoryStore, from_url

from stac_manager.errors import StorageError, one_line
from stac_manager.local_files import STAGING, remove_orphans, write_file
from stac_manager.locks import LeaseObject, Lock, WaitPolicy, file_lock, ignores_conditions, lease, reentrant
from stac_manager.object_cache import ABSENT, Entry, ObjectCache
from stac_manager.scratch import scratch_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["Storage"]

_PAGE = 1000
"""Keys of one page of a LIST."""

_AT_ONCE = 32
"""Calls to an object store at the same time."""

_TRIES = 20
"""How often an update of a document is tried while others change it."""


class Storage:
    """The files below one root.

    Keys are relative, with `/` between their parts. Credentials and endpoints of object stores come from the
    environment variables that the cloud's own tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
    """

    def __init__(self, root: str | Path) -> None:
        scheme, colon, path = str(root).rpartition("://")
        self.root = f"{scheme}{colon}{path.rstrip('/') or '/' * (scheme in ('', 'file'))}"
        self._local: Path | None = None
        self.cache = ObjectCache()
        """What is known of a bucket; unused in a local folder."""
        self._large: set[str] = set()
        """Folders that are known to have more than a page of keys."""
        try:
            if scheme in ("", "file"):
                self._local = Path(self.root.removeprefix("file://")).expanduser().resolve()
                self._store: ObjectStore = LocalStore(self._local, mkdir=True)
            else:
                self._store = from_url(self.root)
        except (BaseError, OSError, RuntimeError, ValueError) as error:
            raise StorageError(f"{self.root}: cannot be used as storage: {one_line(error)}") from None

    @property
    def is_bucket(self) -> bool:
        """Whether the files are objects of a store, so that each call takes a while."""
        return self._local is None

    @property
    def is_in_memory(self) -> bool:
        """Whether only this process has the files."""
        return isinstance(self._store, MemoryStore)

    def locate(self, key: str) -> str:
        """The full path or URL of a key, for people and for other tools."""
        return str(self._local / key) if self._local else f"{self.root}/{key}"

    def put(self, key: str, content: bytes | Path) -> None:
        """Write bytes, or the content of a local file, under a key. A local write is synced to the disk.

        Raises:
            StorageError: nothing was written; earlier content is unchanged.
        """
        with self._failing("written", key):
            if self._local:
                write_file(self._path(key), content)
            else:
                size = len(content) if isinstance(content, bytes) else content.stat().st_size
                result = obstore.put(self._store, key, content)
                self.cache.wrote(key, result["e_tag"], size, content)

    def update(
        self, key: str, change: Callable[[bytes | None], bytes | None], lock: str, *, is_new: bool = False
    ) -> None:
        """Change a document that other runs change too, without losing a change of theirs.

        In a local folder this holds a lock. An object store writes only if the object has not changed since it was
        read; otherwise the change is made again, from the new content.

        Args:
            key: of the document.
            change: the new content for the present one; None where there is no document. It may be called again.
            lock: the key of the lock.
            is_new: there is probably no such document yet, so it is not worth a call to look.

        Raises:
            StorageError: the document cannot be read or written, or others change it all the time.
        """
        if self._local or ignores_conditions(self.root):
            with self.lock(lock):
                self._change(key, change)
            return
        e_tag, before = self.cache.last_seen(key) or (("", None) if is_new else self._read(key))
        for _ in range(_TRIES):
            after = change(before)
            if after == before or self._replace(key, e_tag, after):
                return
            e_tag, before = self._read(key)
        raise StorageError(f"{self.locate(key)}: cannot be written, because other runs change it all the time")

    def _change(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Change a document that no other run changes meanwhile."""
        self.remove_orphans(key)
        before = self.get(key) if self._local else self._read(key)[1]
        after = change(before)
        if after is None and before is not None:
            self.delete(key)
        elif after is not None and after != before:
            self.put(key, after)

    def _read(self, key: str) -> tuple[str, bytes | None]:
        """ETag and content of an object; an empty ETag and None if there is none."""
        with self._failing("read", key):
            try:
                result = obstore.get(self._store, key)
            except FileNotFoundError:
                self.cache.remember_absence(key)
                return "", None
            content, e_tag = bytes(result.bytes()), result.meta["e_tag"]
        self.cache.remember(key, e_tag, content)
        return e_tag or "", content

    def _replace(self, key: str, e_tag: str, content: bytes | None) -> bool:
        """Write an object if it still has this ETag, or if there still is none; whether it has the content now."""
        if content is None:
            self.delete(key)
            return True
        with self._failing("written", key):
            try:
                mode: Any = {"e_tag": e_tag} if e_tag else "create"
                result = obstore.put(self._store, key, content, mode=mode)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                # the answer to an earlier try of the same call may have been lost
                return self._read(key)[1] == content
            except (NotImplementedError, NotSupportedError):
                result = obstore.put(self._store, key, content)
        self.cache.wrote(key, result["e_tag"], len(content), content)
        return True

    def copy(self, source_key: str, target_key: str) -> None:
        """Copy the content of a key to another key, and replace what is there; an object store copies on the server.

        Raises:
            StorageError: there is no such key, or nothing was written; earlier content is unchanged.
        """
        with self._failing("copied", source_key):
            if self._local:
                # not a hard link: an edit of one file in place would change the other
                write_file(self._path(target_key), self._path(source_key))
            elif source_key == target_key:
                obstore.head(self._store, source_key)  # S3 refuses to copy an object onto itself
            else:
                obstore.copy(self._store, source_key, target_key)

    def get(self, key: str) -> bytes | None:
        """The content of a key, or None if there is no such key."""
        known = self.cache.entry(key)
        if known is ABSENT:
            return None
        content = self.cache.content(key, known.e_tag) if known else None
        if content is not None:
            return content
        if not self._local:
            return self._read(key)[1]
        with self._failing("read", key):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    def get_seen(self, key: str) -> bytes | None:
        """The content when the state of the present partition was listed; another run may have changed it since."""
        hint, seen = self.cache.hint(key), self.cache.last_seen(key)
        if self._local or hint is None or seen is None or hint.e_tag != (seen[0] or None):
            return self.get(key)
        return seen[1]

    def fetch(self, keys: Iterable[str]) -> None:
        """Read objects of a bucket many at once, so that `get` answers at once. A local folder needs no such thing."""
        if self._local:
            return
        unknown = [key for key in keys if self.is_worth_fetching(key)]
        if len(unknown) > 1:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._read, unknown))

    def is_worth_fetching(self, key: str) -> bool:
        """Whether a listing shows an object whose content is not known."""
        known = self.cache.entry(key)
        return known is not None and known is not ABSENT and self.cache.content(key, known.e_tag) is None

    def size(self, key: str) -> int | None:
        """The size in bytes, or None if there is no such key."""
        known = self.cache.entry(key)
        if known is not None:
            return None if known is ABSENT else known.size
        with self._failing("read", key):
            try:
                found = obstore.head(self._store, key)
            except FileNotFoundError:
                self.cache.remember_absence(key)
                return None
        self.cache.forget_other(key, found["e_tag"])
        return int(found["size"])

    def holds(self, key: str, sha256: str, size: int) -> bool:
        """Whether a key has exactly this content; the content is read only if the size is equal.

        An object whose name has the start of the checksum is not read, because an upload is complete or not there.
        """
        if self.size(key) != size:
            return False
        if not self._local and sha256[:16] in key.rpartition("/")[2]:
            return True
        with self.local_copy(key) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def delete(self, *keys: str) -> None:
        """Remove keys, those that exist; an object store removes many with one call.

        Raises:
            StorageError: a key cannot be removed.
        """
        for key in keys if self._local else ():
            with self._failing("deleted", key), suppress(FileNotFoundError):
                obstore.delete(self._store, key)
        there = [key for key in keys if self.cache.entry(key) is not ABSENT]
        if there and not self._local:
            with self._failing("deleted", there[0]), suppress(FileNotFoundError):
                obstore.delete(self._store, there)
            for key in there:
                self.cache.deleted(key)

    def list(self, prefix: str, *, after: str = "") -> list[str]:
        """Every key below a prefix (whole path parts) that sorts after another key, sorted."""
        known = self.cache.keys_below(f"{prefix}/", after)
        if known is not None:
            return known
        with self._failing("listed", prefix):
            found = obstore.list(self._store, prefix, offset=after or None)
            return sorted(str(meta["path"]) for batch in found for meta in batch)

    @contextmanager
    def listed(
        self,
        *folders: str,
        after: str = "",
        root: str | None = None,
        only: bool = False,
        fresh: bool = False,
        seen: bool = False,
    ) -> Iterator[None]:
        """Answer from one look at some folders what they hold, until the end of the block; local folders are asked.

        Use it under a lock that keeps other writers out, or where the state at the start of the block is what counts.

        Args:
            folders: the folders.
            after: only keys that sort after this one.
            root: a folder above all of them; if it is small, one LIST of it is cheaper than one for each folder.
            only: others may change the rest of `root` meanwhile.
            fresh: look again, even within a block that has looked.
            seen: the last look at `root` is good enough, with what this process has written since.
        """
        prefixes = [f"{folder}/" for folder in folders]
        if self._local or (not fresh and self.cache.covers_all(prefixes, after)):
            yield
            return
        entries = (seen and self.cache.seen_below(f"{root}/")) or (self._small(root) if root else None)
        if entries is not None:
            prefixes, after = prefixes if only else [f"{root}/"], ""
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                found = pool.map(partial(self._entries, after=after), folders)
                entries = {key: entry for each in found for key, entry in each.items()}
        with self.cache.listing(prefixes, entries, after=after):
            yield

    @contextmanager
    def listed_between(self, folder: str, after: str, until: str) -> Iterator[None]:
        """The same for the keys of a folder between two others."""
        if self._local or self.cache.covers_all([f"{folder}/"], after):
            yield
            return
        entries: dict[str, Entry] = {}
        with self._failing("listed", folder):
            for page in obstore.list(self._store, folder, offset=after, chunk_size=_PAGE):
                entries |= {str(meta["path"]): Entry(int(meta["size"]), meta["e_tag"]) for meta in page}
                if len(page) < _PAGE or str(page[-1]["path"]) > until:
                    break
        with self.cache.listing([f"{folder}/"], entries, after=after, until=until):
            yield

    def was_empty(self, folder: str) -> bool:
        """Whether a bucket had nothing but locks below a folder when this process looked there first."""
        return f"{folder}/" in self.cache.new_folders

    def is_absent(self, key: str) -> bool:
        """Whether a listing shows that there is no such key."""
        return self.cache.entry(key) is ABSENT

    def is_known(self, key: str) -> bool:
        """Whether it costs no call to an object store to know if there is such a key."""
        return self._local is not None or self.cache.entry(key) is not None

    def _entries(self, folder: str, after: str) -> dict[str, Entry]:
        with self._failing("listed", folder):
            pages = obstore.list(self._store, folder, offset=after or None, chunk_size=_PAGE)
            return {str(meta["path"]): Entry(int(meta["size"]), meta["e_tag"]) for page in pages for meta in page}

    def _small(self, folder: str) -> dict[str, Entry] | None:
        """Everything below a folder; None if that is more than a page."""
        if folder in self._large:
            return None
        with self._failing("listed", folder):
            page = next(iter(obstore.list(self._store, folder, chunk_size=_PAGE)), [])
        if len(page) >= _PAGE:
            self._large.add(folder)
            self.cache.forget_small(f"{folder}/")
            return None
        entries = {str(meta["path"]): Entry(int(meta["size"]), meta["e_tag"]) for meta in page}
        self.cache.saw_small(f"{folder}/", entries)
        return entries

    def lock(
        self, key: str, *, wait: float = 600.0, waiting: Callable[[], None] | None = None
    ) -> AbstractContextManager[Lock]:
        """Lock a key that represents what is to be written, so that no other thread, process or host writes it too.

        A thread that holds the lock already continues at once. The key must not be used for anything else: in a local
        folder it stays as an empty file, on an object store it exists while the lock is held.

        Args:
            key: of the lock.
            wait: how many seconds to wait for another writer.
            waiting: called once if another writer holds the lock.

        Raises:
            StorageError: another writer did not end in time, or the key cannot be locked.
        """
        place, failing = self.locate(key), partial(self._failing, "locked", key)

        def take() -> AbstractContextManager[Lock]:
            wait_policy = WaitPolicy(place, wait, waiting)
            if self._local:
                return file_lock(self._path(key), wait_policy, failing)
            return lease(LeaseObject(self._store, key, place, failing, self._store_without_retries), wait_policy)

        # two stores in memory are different, even if they have the same name
        return reentrant(f"{id(self._store)} {place}" if self.is_in_memory else place, take)

    def is_locked(self, key: str) -> bool:
        """Whether another run holds a lock; of a killed run, perhaps for a while."""
        if not self._local:
            return self.size(key) is not None
        try:
            with self.lock(key, wait=0.0):
                return False
        except StorageError:
            return True

    def locked_among(self, keys: Iterable[str]) -> set[str]:
        """Those of some locks in one folder that another run holds."""
        keys = set(keys)
        if not keys or self._local:
            return {key for key in keys if self.is_locked(key)}
        return keys.intersection(*(self.list(folder) for folder in {key.rpartition("/")[0] for key in keys}))

    def local_lock(self, key: str) -> AbstractContextManager[Lock | None]:
        """The lock, in a local folder. In an object store `update` needs none, and no writer leaves orphans."""
        return self.lock(key) if self._local else nullcontext()

    @cached_property
    def _store_without_retries(self) -> ObjectStore:
        if self.is_in_memory:
            return self._store
        return from_url(self.root, retry_config={"max_retries": 0})

    def remove_orphans(self, key: str) -> None:
        """Remove what killed writers left of a key. Call it only while nothing else writes this key."""
        with self._failing("cleaned up", key):
            if self._local:
                path = self._path(key)
                remove_orphans(path.parent, path.name)

    def remove_orphans_in(self, folder: str) -> None:
        """Remove what killed writers left directly in a folder. Call it only while nothing else writes there."""
        with self._failing("cleaned up", folder):
            if self._local:
                remove_orphans(self._path(folder) if folder else self._local, None)

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """A local file with the content of a key: the file itself in a folder, a temporary copy of an object.

        Raises:
            StorageError: there is no such key, or it cannot be read.
        """
        if self._local:
            path = self._local / key
            if not path.is_file():
                raise StorageError(f"{path}: is missing")
            yield path
            return
        known = self.cache.file(key)
        if known:
            yield known
            return
        with ExitStack() as opened:
            place = self.cache.place_for(key)
            path = place or opened.enter_context(scratch_folder()) / Path(key).name
            self._download(key, path)
            if place:
                self.cache.keep_file(key, place)
            yield path

    def _download(self, key: str, path: Path) -> None:
        with self._failing("read", key), path.open("wb") as file:
            try:
                for chunk in obstore.get(self._store, key).stream():
                    file.write(chunk)
            except FileNotFoundError:
                raise StorageError(f"{self.locate(key)}: is missing") from None

    def _path(self, key: str) -> Path:
        """The local file of a key; a key that obstore does not accept is an error here too."""
        if not self._local or {"", ".", ".."} & set(key.split("/")) or "\0" in key or STAGING.fullmatch(key):
            raise StorageError(f"{self.locate(key)!a}: is no name for a file")
        return self._local / key

    @contextmanager
    def _failing(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageError(f"{self.locate(key)}: cannot be {verb}: {one_line(error)}") from None
