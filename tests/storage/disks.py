"""A disk that is soon full."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import need


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A folder that is a disk of so many bytes, gone after the block; skips where none can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        try:
            mounted = subprocess.run(command, capture_output=True, text=True)
            reason = mounted.stderr.strip() if mounted.returncode else ""
        except FileNotFoundError:
            reason = "there is no mount command"
        need(not reason, f"no disk can be mounted: {reason}")
        try:
            yield folder
        finally:
            # a file that is still open does not keep it
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()
