"""A worker process as the process that started it sees it: its start, its answers, its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from typing import Any

from stac_manager.errors import WorkerError
from stac_manager.pipeline.sync.partition_run import PartitionResult, PartitionRun
from stac_manager.pipeline.sync.worker_process import GRACE, Raised, Ready, WorkerSetup

__all__ = ["WorkerHandle"]

# `multiprocessing` would import the caller's script again, which fails if that starts work when it is imported
_CODE = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
try:
    sys.path[:] = connection.recv()
except EOFError:
    sys.exit()
from stac_manager.pipeline.sync.worker_process import main
main(connection)
"""


class WorkerHandle:
    """A worker process.

    Args:
        collection: of its partitions.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._ready = False
        self._socket, theirs = socket.socketpair()
        with ExitStack() as opened, theirs:
            opened.enter_context(self._socket)
            connection: Connection[Any, Any] = Connection(os.dup(self._socket.fileno()))
            self._connection = opened.enter_context(connection)
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-c", _CODE, str(theirs.fileno()), "stac-manager-worker"],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            self._opened = opened.pop_all()

    def begin(self, setup: WorkerSetup) -> None:
        """Tell the process what it must know."""
        self._send(sys.path)
        self._send(setup)

    def wait_until_ready(self, hear: Callable[[object], None]) -> Exception | None:
        """Wait for the start of the process; returns why it cannot begin."""
        while True:
            message = self._receive(hear)
            if isinstance(message, Ready):
                self._ready = True
                return None
            if isinstance(message, Raised):
                return message.error
            if message is None:
                return WorkerError(f"a worker process {self._end_of_process()}")

    def run(self, run: PartitionRun, hear: Callable[[object], None]) -> PartitionResult | Raised | None:
        """Let the process run a partition; None if it was gone before it began.

        Args:
            run: the partition.
            hear: called with everything that the process tells meanwhile.
        """
        if not self._send(run):
            return None
        while True:
            message = self._receive(hear)
            if isinstance(message, PartitionResult | Raised):
                return message
            if message is None:
                reason = f"its process {self._end_of_process()}; run the partition again"
                return PartitionResult(self._collection, run.partition, error=WorkerError(reason))

    def interrupt(self) -> None:
        """Interrupt the process, and whoever waits for its answer; another thread may call this."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End the process, and wait until it has ended."""
        if not self._ready:
            self._process.kill()  # it has begun nothing
        self.interrupt()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * GRACE)
        self._process.kill()
        self._process.wait()
        self._opened.close()

    def _send(self, message: object) -> bool:
        """Send a message; False if the process is gone."""
        try:
            self._connection.send(message)
        except OSError:
            return False
        return True

    def _receive(self, hear: Callable[[object], None]) -> object:
        """The next answer; None if the process is gone."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                return None
            if isinstance(message, logging.LogRecord):
                logger = logging.getLogger(message.name)
                if logger.isEnabledFor(message.levelno):
                    logger.handle(message)
            elif isinstance(message, PartitionResult | Raised | Ready):
                return message
            else:
                hear(message)

    def _end_of_process(self) -> str:
        """How the process has ended, for a message."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        status = self._process.poll()
        if status == -signal.SIGKILL:
            return "was killed (SIGKILL), perhaps because memory ran out"
        if status is not None and status < 0:
            return f"was ended by signal {-status} ({signal.strsignal(-status)})"
        return f"ended with exit status {status}"
