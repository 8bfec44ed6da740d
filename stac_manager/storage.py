"""Where files are kept: a local folder, or a bucket by `s3://`, `gs://` or `az://`, all through obstore.

Writes are atomic. A local write goes to a staging file, which is renamed once it is on the disk. An object store shows
an object only when its upload is complete. A killed writer may leave a file `<name>#<number>`, which `list` leaves out.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, from_url

from stac_manager.errors import StorageError, one_line
from stac_manager.locks import LeaseObject, Lock, WaitPolicy, file_lock, lease, reentrant
from stac_manager.scratch import scratch_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["Storage"]

_STAGING = re.compile(r"(?P<name>.+)#\d+", re.DOTALL)
_CHUNK = 1 << 20


class Storage:
    """The files below one root.

    Keys are relative, with `/` between their parts. Credentials and endpoints of object stores come from the
    environment variables that the cloud's own tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
    """

    def __init__(self, root: str | Path) -> None:
        scheme, colon, path = str(root).rpartition("://")
        self.root = f"{scheme}{colon}{path.rstrip('/') or '/' * (scheme in ('', 'file'))}"
        self._local: Path | None = None
        try:
            if scheme in ("", "file"):
                self._local = Path(self.root.removeprefix("file://")).expanduser().resolve()
                self._store: ObjectStore = LocalStore(self._local, mkdir=True)
            else:
                self._store = from_url(self.root)
        except (BaseError, OSError, RuntimeError, ValueError) as error:
            raise StorageError(f"{self.root}: cannot be used as storage: {one_line(error)}") from None

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
                _write_file(self._path(key), content)
            else:
                obstore.put(self._store, key, content)

    def copy(self, source_key: str, target_key: str) -> None:
        """Copy the content of a key to another key, and replace what is there; an object store copies on the server.

        Raises:
            StorageError: there is no such key, or nothing was written; earlier content is unchanged.
        """
        with self._failing("copied", source_key):
            if self._local:
                # not a hard link: an edit of one file in place would change the other
                _write_file(self._path(target_key), self._path(source_key))
            elif source_key == target_key:
                obstore.head(self._store, source_key)  # S3 refuses to copy an object onto itself
            else:
                obstore.copy(self._store, source_key, target_key)

    def get(self, key: str) -> bytes | None:
        """The content of a key, or None if there is no such key."""
        with self._failing("read", key):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    def size(self, key: str) -> int | None:
        """The size in bytes, or None if there is no such key."""
        with self._failing("read", key):
            try:
                return int(obstore.head(self._store, key)["size"])
            except FileNotFoundError:
                return None

    def holds(self, key: str, sha256: str, size: int) -> bool:
        """Whether a key has exactly this content; the content is read only if the size is equal."""
        if self.size(key) != size:
            return False
        with self.local_copy(key) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def delete(self, key: str) -> None:
        """Remove a key, if it exists."""
        with self._failing("deleted", key):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def list(self, prefix: str) -> list[str]:
        """Every key below a prefix (whole path parts), sorted."""
        with self._failing("listed", prefix):
            return sorted(str(meta["path"]) for batch in obstore.list(self._store, prefix) for meta in batch)

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
            return lease(LeaseObject(self._store, key, place, failing), wait_policy)

        # two stores in memory are different, even if they have the same name
        return reentrant(f"{id(self._store)} {place}" if self.is_in_memory else place, take)

    def remove_orphans(self, key: str) -> None:
        """Remove what killed writers left of a key. Call it only while nothing else writes this key."""
        with self._failing("cleaned up", key):
            if self._local:
                path = self._path(key)
                _remove_orphans(path.parent, path.name)

    def remove_orphans_in(self, folder: str) -> None:
        """Remove what killed writers left directly in a folder. Call it only while nothing else writes there."""
        with self._failing("cleaned up", folder):
            if self._local:
                _remove_orphans(self._path(folder) if folder else self._local, None)

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
        with scratch_folder() as folder:
            path = folder / Path(key).name
            with self._failing("read", key), path.open("wb") as file:
                try:
                    for chunk in obstore.get(self._store, key).stream():
                        file.write(chunk)
                except FileNotFoundError:
                    raise StorageError(f"{self.locate(key)}: is missing") from None
            yield path

    def _path(self, key: str) -> Path:
        """The local file of a key; a key that obstore does not accept is an error here too."""
        if not self._local or {"", ".", ".."} & set(key.split("/")) or "\0" in key or _STAGING.fullmatch(key):
            raise StorageError(f"{self.locate(key)!a}: is no name for a file")
        return self._local / key

    @contextmanager
    def _failing(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageError(f"{self.locate(key)}: cannot be {verb}: {one_line(error)}") from None


def _write_file(path: Path, content: bytes | Path) -> None:
    """Write a file completely to the disk before it gets its name."""
    _make_folder(path.parent)
    for number in count(1):
        staging = path.with_name(f"{path.name}#{number}")
        try:
            file = staging.open("xb")
            break
        except FileExistsError:
            continue
    try:
        with file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, _CHUNK)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot sync a folder; the file has its name already
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_orphans(folder: Path, name: str | None) -> None:
    """Remove staging files of one name, or of any."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        staged = _STAGING.fullmatch(path.name)
        if staged and name in (None, staged["name"]) and path.is_file():
            path.unlink(missing_ok=True)
