"""A short hash of the content of files and folders that a workflow names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["hash_of_files"]

_Signature = tuple[tuple[str, int, int], ...]
"""Path, size and time of change of each file."""


def hash_of_files(paths: Sequence[Path]) -> list[str]:
    """16 hex digits that change with the content of a file or a name in a folder; an empty list for no paths.

    A missing or unreadable file counts as such. The folder's own path and the times of files do not count. Files are
    read again only if their size or modification time has changed.
    """
    if not paths:
        return []
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_hash_of(path, tuple(_signature(path))))
    return [digest.hexdigest()[:16]]


def _signature(path: Path) -> Iterator[tuple[str, int, int]]:
    for file in _files(path):
        try:
            found = file.stat()
            yield str(file), found.st_size, found.st_mtime_ns
        except OSError:
            yield str(file), -1, 0


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = (Path(folder) / name for folder, _, names in os.walk(path, followlinks=True) for name in names)
    return sorted(found)


@lru_cache(maxsize=64)
def _hash_of(path: Path, signature: _Signature) -> bytes:
    digest = hashlib.sha256()
    for name, *_ in signature:
        file = Path(name)
        digest.update(os.fsencode(file.relative_to(path)) + b"\0")
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError:
            digest.update(b"unreadable")
    return digest.digest()
