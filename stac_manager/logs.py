"""Where log records go: to the terminal of a command, and to the log file of a workflow.

Dagster's processes have their own loggers; there only the library's logger is configured, never the root logger.
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
        if record.exc_text:  # made already, such as in another process
            entry["traceback"] = record.exc_text
        elif record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def start_logging(level: str, form: LogFormat) -> None:
    """Log to the terminal, and stop logging to the files of workflows that ran earlier in this process."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_JsonLines() if form == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    _LIBRARY.setLevel(logging.NOTSET)
    for old in _files():
        _LIBRARY.removeHandler(old)
        old.close()


def configure_logging(level: str, file: str | None = None, form: LogFormat = "text") -> None:
    """Set the level of the library's logger, and add a log file; may be called many times.

    Workflows that run in one process share this logger, so the file of one may have records of another.

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
        # log rotation may move the file away while the process runs
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
