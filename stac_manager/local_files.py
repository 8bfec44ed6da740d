"""Files of a local folder: written completely to the disk before they get their names."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path

__all__ = ["STAGING", "remove_orphans", "write_file"]

STAGING = re.compile(r"(?P<name>.+)#\d+", re.DOTALL)
"""The names of files that are being written, or that a killed writer left."""

_CHUNK = 1 << 20


def write_file(path: Path, content: bytes | Path) -> None:
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


def remove_orphans(folder: Path, name: str | None) -> None:
    """Remove staging files of one name, or of any."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        staged = STAGING.fullmatch(path.name)
        if staged and name in (None, staged["name"]) and path.is_file():
            path.unlink(missing_ok=True)
