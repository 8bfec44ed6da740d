"""Unexpected exceptions in the code of a plugin become errors of ours: one line, for the part that they concern."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stac_manager.errors import StacManagerError, one_line

__all__ = ["plugin_errors"]


@contextmanager
def plugin_errors(kind: type[StacManagerError], what: str) -> Iterator[None]:
    """Turn whatever the block raises into an error of a kind; errors of ours, those of files and connections, and
    full memory pass as they are.

    Args:
        kind: of the error.
        what: was called, for the message.

    Raises:
        StacManagerError: of the kind.
    """
    try:
        yield
    except (StacManagerError, MemoryError, OSError):
        raise
    except Exception as error:  # a stranger's code may raise anything
        raise kind(f"{what}: unexpected {type(error).__name__}: {one_line(error)}") from error
