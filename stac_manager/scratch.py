"""Temporary folders that are removed also after their process was killed.

Each folder has a lock file that its process keeps locked. When a process is killed, the operating system frees the
lock. A later process removes each folder whose lock file it can lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stac_manager.errors import StorageError

__all__ = ["scratch_folder"]

_PREFIX = "stac-manager-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_LOCK_NAME = ".stac-manager.lock"
_JUST_MADE = 60.0
"""Seconds; a younger folder may not have its lock yet."""

_LEFT_UNLOCKED = 86_400.0
"""Seconds after which a folder without a lock file counts as left by a process killed while it made the folder."""

_removing = threading.Lock()
_removed = False


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private, empty folder that is removed at the end of the block, or by a later process if this one is killed.

    Raises:
        StorageError: there is no room for it.
    """
    _remove_left_over_once()
    try:
        outer, lock = _make()
    except OSError as error:
        place = error.filename or "a temporary folder"
        raise StorageError(f"{place}: cannot be made: {error.strerror or error}") from None
    try:
        yield outer / "files"
    finally:
        _remove(outer)
        os.close(lock)


def _make() -> tuple[Path, int]:
    """A new folder, locked, and the descriptor of its lock file."""
    outer = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = -1
    try:
        lock = os.open(outer / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (outer / "files").mkdir()
    except BaseException:
        _remove(outer)
        if lock >= 0:
            os.close(lock)
        raise
    return outer, lock


def _remove(outer: Path) -> None:
    """Remove the files first and the lock last, so that a later process can finish an interrupted removal."""
    shutil.rmtree(outer / "files", ignore_errors=True)
    if not (outer / "files").exists():
        shutil.rmtree(outer, ignore_errors=True)


def _remove_left_over_once() -> None:
    global _removed
    with _removing:
        if _removed:
            return
        _removed = True
        with suppress(OSError):
            for folder in Path(tempfile.gettempdir()).iterdir():
                if _NAME.fullmatch(folder.name):
                    with suppress(OSError):
                        _remove_left_over(folder)


def _remove_left_over(folder: Path) -> None:
    """Remove a folder if it is this user's and no process uses it."""
    found = folder.lstat()
    age = time.time() - found.st_mtime
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or age < _JUST_MADE:
        return
    try:
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        if age > _LEFT_UNLOCKED:
            # `rmdir` removes only an empty folder: files without the lock may be a user's, in a folder of this name
            folder.rmdir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
    finally:
        os.close(lock)
