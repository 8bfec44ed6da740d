"""A process that runs partitions for another one, and ends when that one is gone.

What belongs here: the work of the process, and what it tells. Who gets which partition is in `worker_pool`.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from stac_manager.config import Workflow
from stac_manager.errors import StacManagerError, WorkerError
from stac_manager.http.limiter import Share, use_share
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.state.manifest import Stage
from stac_manager.pipeline.sync.partition_run import PartitionResult, PartitionRun, run_partition

__all__ = ["GRACE", "Progress", "Raised", "Ready", "WorkerSetup", "log_levels", "main"]

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds in which an interrupted run removes its temporary files and frees its locks. Then the process just ends."""

_LOGGERS = ("", "stac_manager")


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process must know before its first partition."""

    workflow: Workflow
    collection: str
    share: Share
    log_levels: Mapping[str, int]
    feed: ChangeFeed | None
    asked_newest: bool
    """Whether the source was asked for its newest update already."""
    tells_progress: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The process can begin."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Items that a stage has just handled."""

    partition: str
    stage: Stage
    count: int


@dataclass(frozen=True, slots=True)
class Raised:
    """An error that is no failure of a partition."""

    error: Exception


def log_levels() -> dict[str, int]:
    """The levels of this process, for another one."""
    return {name: logging.getLogger(name).level for name in _LOGGERS}


def main(connection: Connection[Any, Any]) -> None:
    """Run the partitions that come through a connection, until there are no more or its other end is closed."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _Worker(connection).run(connection.recv())
    except (KeyboardInterrupt, EOFError, OSError):
        return


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


class _Worker:
    """Runs partitions in the main thread; another thread listens to the connection."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._runs: queue.SimpleQueue[PartitionRun | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._busy = self._over = False

    def run(self, setup: WorkerSetup) -> None:
        """Run partitions until there are no more.

        Raises:
            OSError: the other process is gone.
        """
        threading.Thread(target=self._listen, daemon=True).start()
        logging.basicConfig(handlers=[_ToOtherProcess(self)], force=True)
        for name, level in setup.log_levels.items():
            logging.getLogger(name).setLevel(level)
        use_share(setup.share)
        try:
            chain = Chain.of(setup.workflow, setup.collection)
        except StacManagerError as error:
            self.tell(Raised(error))
            return
        chain.sync_state.pass_on = self.tell
        if setup.asked_newest:
            chain.sync_state.leave_full_compare()
        self.tell(Ready())
        while (run := self._runs.get()) is not None:
            self._busy = True
            if not self._over:
                self.tell(self._result(chain, run, setup))
            self._busy = False

    def tell(self, message: object) -> None:
        """Send a message.

        Raises:
            OSError: the other process is gone.
        """
        data = pickle.dumps(message)
        with self._sending:
            self._connection.send_bytes(data)

    def _result(self, chain: Chain, run: PartitionRun, setup: WorkerSetup) -> PartitionResult | Raised:
        def on_progress(partition: str, stage: Stage, count: int) -> None:
            self.tell(Progress(partition, stage, count))

        try:
            callback = on_progress if setup.tells_progress else None
            result = run_partition(chain, run.partition, run.with_chain(chain, setup.feed), callback)
        except Exception as error:
            log.debug("unexpected", exc_info=True)
            return Raised(_sendable(error))
        if result.error:
            result.error = _sendable(result.error)
        return result

    def _listen(self) -> None:
        """Receive partitions; interrupt the main thread when the other process is gone or wants no more."""
        try:
            while True:
                self._runs.put(self._connection.recv())
        except (EOFError, OSError):
            self._over = True
            self._runs.put(None)
            if self._busy:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                time.sleep(GRACE)
                os._exit(1)


def _sendable[E: Exception](error: E) -> E | WorkerError:
    """The error, or its text if it cannot be pickled."""
    try:
        restored = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        if type(restored) is type(error) and str(restored) == str(error):
            return error
    except Exception:  # noqa: BLE001 - an error of a plugin may raise anything here
        log.debug("cannot be pickled: %r", error)
    return WorkerError(f"{type(error).__name__}: {error}")


class _ToOtherProcess(logging.Handler):
    """Sends log records to the process that shows and stores them."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        try:
            self._worker.tell(record)
        except OSError:
            return  # nobody reads it any more
