"""Writing to standard output, which may be a full device, or a pipe whose reader has closed it.

It imports little, because the command line needs it before it knows which command to run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from stac_manager.errors import StorageError

__all__ = ["flush_output", "give_up_output", "reaches_reader", "unwritable_output"]


def flush_output() -> None:
    """Flush standard output; if its reader has closed it, the buffered output is discarded.

    Raises:
        StorageError: it cannot be written. The buffer is discarded, since Python would write it again at exit.
    """
    if sys.stdout is not None:
        reaches_reader(sys.stdout.flush)


def reaches_reader(write: Callable[..., Any], *data: bytes) -> bool:
    """Write to standard output; False if its reader has closed it."""
    try:
        write(*data)
    except OSError as error:
        give_up_output()
        if isinstance(error, BrokenPipeError):
            return False
        raise unwritable_output(error) from None
    return True


def give_up_output() -> None:
    """Redirect standard output to nowhere; otherwise Python would try to write the buffer again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def unwritable_output(error: OSError) -> StorageError:
    """The error for a standard output that cannot be written."""
    return StorageError(f"standard output: cannot be written: {error.strerror or error}")
