"""Where files are kept: a local folder, or a bucket by `s3://`, `gs://` or `az://`, all through obstore.

Every file appears whole or not at all: local writes go to a staging file that is renamed, object stores publish on
completion.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from stac_manager.errors import StorageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["Storage"]


class Storage:
    """The files below one root.

    Keys are relative, with `/` between their parts. Credentials and endpoints of object stores come from the
    environment, by the names that the cloud's own tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root).rstrip("/") or "/"
        self._local: Path | None = None
        try:
            if "://" in self.root and not self.root.startswith("file://"):
                self._store: ObjectStore = from_url(self.root)
            else:
                self._local = Path(self.root.removeprefix("file://")).expanduser().resolve()
                self._store = LocalStore(self._local, mkdir=True)
        except (BaseError, OSError, RuntimeError, ValueError) as error:
            raise StorageError(f"{self.root}: cannot be used as storage: {_first_line(error)}") from None

    def locate(self, key: str) -> str:
        """The full path or URL of a key, for people and for other tools."""
        return str(self._local / key) if self._local else f"{self.root}/{key}"

    def put(self, key: str, content: bytes | Path) -> None:
        """Write bytes, or the content of a local file, under a key.

        Raises:
            StorageError: nothing was written; what was there before is still whole.
        """
        with self._failing("written", key):
            obstore.put(self._store, key, content)

    def get(self, key: str) -> bytes | None:
        """The content of a key, or None where there is none."""
        with self._failing("read", key):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    def size(self, key: str) -> int | None:
        """The size in bytes, or None where there is no such key."""
        with self._failing("read", key):
            try:
                return int(obstore.head(self._store, key)["size"])
            except FileNotFoundError:
                return None

    def holds(self, key: str, sha256: str, size: int) -> bool:
        """Whether a key holds just this content; the content is read only if the size fits."""
        if self.size(key) != size:
            return False
        with self.local_copy(key) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def delete(self, key: str) -> None:
        """Remove a key; one that is not there is fine."""
        with self._failing("deleted", key):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def list(self, prefix: str) -> list[str]:
        """Every key below a prefix (whole path parts), sorted."""
        with self._failing("listed", prefix):
            return sorted(str(meta["path"]) for batch in obstore.list(self._store, prefix) for meta in batch)

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
        with tempfile.TemporaryDirectory(prefix="stac-manager-") as folder:
            path = Path(folder) / Path(key).name
            with self._failing("read", key), path.open("wb") as file:
                try:
                    for chunk in obstore.get(self._store, key).stream():
                        file.write(chunk)
                except FileNotFoundError:
                    raise StorageError(f"{self.locate(key)}: is missing") from None
            yield path

    @contextmanager
    def _failing(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageError(f"{self.locate(key)}: cannot be {verb}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
