"""Where log records go: to the terminal of a command, and to the file that a workflow names.

Dagster's processes have loggers of their own; there only the library's logger is touched, never the root.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Literal

from stac_manager.errors import UsageError
from stac_manager.times import format_rfc3339, utc_now

__all__ = ["LogFormat", "configure_logging", "start_logging"]

LogFormat = Literal["text", "json"]

_LIBRARY = logging.getLogger("stac_manager")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": format_rfc3339(utc_now()),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def start_logging(level: str, form: LogFormat) -> None:
    """Log to the terminal, and no longer to the files of workflows that ran before in this process."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_JsonLines() if form == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    _LIBRARY.setLevel(logging.NOTSET)
    for old in _files():
        _LIBRARY.removeHandler(old)
        old.close()


def configure_logging(level: str, file: str | None = None, form: LogFormat = "text") -> None:
    """Let the library log from a level on, and to a file besides; may be called again and again.

    Workflows that run in one process share the library's logger, so each one's file may have records of the others.

    Raises:
        UsageError: the file cannot be opened.
    """
    if file is not None:
        handler = _handler_of(file)
        handler.setLevel(level)
        handler.setFormatter(_JsonLines() if form == "json" else _plain())
    levels = [handler.level for handler in _files()]
    _LIBRARY.setLevel(min([logging.getLevelNamesMapping()[level], *levels]))


def _files() -> list[WatchedFileHandler]:
    return [handler for handler in _LIBRARY.handlers if isinstance(handler, WatchedFileHandler)]


def _handler_of(file: str) -> WatchedFileHandler:
    path = Path(file).expanduser().absolute()
    for handler in _files():
        if handler.baseFilename == str(path):
            return handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # log rotation moves files away, also those of processes that run for months
        handler = WatchedFileHandler(path, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{file}: cannot be logged to: {reason}") from None
    _LIBRARY.addHandler(handler)
    return handler


def _plain() -> logging.Formatter:
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    return formatter
