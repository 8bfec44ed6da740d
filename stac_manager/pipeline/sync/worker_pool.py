"""Run partitions in several processes, side by side. This process is one of them: it works while the others start.

What belongs here: which process gets which partition, and how the processes end. What they do is in `worker_process`.
"""

from __future__ import annotations

import logging
import math
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from stac_manager.errors import SourceError, one_line
from stac_manager.http.limiter import Share, use_share
from stac_manager.ingest import RoutedSource
from stac_manager.pipeline.chain import Chain
from stac_manager.pipeline.changes.change_feed import ChangeFeed
from stac_manager.pipeline.stages.raw import ensure_full_compare
from stac_manager.pipeline.state.sync_state import ScannedPartition
from stac_manager.pipeline.sync.partition_run import PartitionProgress, PartitionResult, PartitionRun, run_partition
from stac_manager.pipeline.sync.worker_handle import WorkerHandle
from stac_manager.pipeline.sync.worker_process import Progress, Raised, WorkerSetup, log_levels

__all__ = ["WorkerPool", "worker_count"]

log = logging.getLogger(__name__)

HEAD_START = 1.0
"""Seconds that this process works alone: it takes about a second of CPU time to start another one."""

_WORTH = 5
"""So many times `HEAD_START` must be left to do by then, as far as the first partitions tell."""


def worker_count(chain: Chain, runs: Sequence[PartitionRun], wanted: int) -> int:
    """How many processes to use: no more than there are partitions, and requests that may be sent at once.

    Files in memory are not seen by other processes. A source that is read once would be read by each process.
    """
    if chain.storage.is_in_memory or isinstance(chain.source, RoutedSource):
        return 1
    return max(1, min(wanted, len(runs), chain.workflow.processing.concurrency))


class WorkerPool:
    """Runs partitions of one collection in several processes.

    Args:
        chain: of the collection, for this process; the others build theirs from the workflow.
        runs: the partitions, in the order to start them.
        workers: the number of processes, with this one.
        on_progress: called with the progress of each stage, from several threads.
        feed: the changes that a sync check has just fetched.
    """

    def __init__(
        self,
        chain: Chain,
        runs: Sequence[PartitionRun],
        workers: int,
        on_progress: PartitionProgress | None,
        feed: ChangeFeed | None,
    ) -> None:
        self._chain, self._on_progress, self._feed, self._workers = chain, on_progress, feed, workers
        self._left = deque(runs)
        self._results: queue.SimpleQueue[PartitionResult | Exception | None] = queue.SimpleQueue()
        self._given_out = 0
        self._done = 0
        """Partitions that this process has run."""
        self._began = time.monotonic()
        self._stopped = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._handles: list[WorkerHandle] = []

    def results(self) -> Generator[PartitionResult]:
        """The results, in the order in which the partitions end; closing the generator ends the other processes.

        Raises:
            Exception: what a run raised beside the failures of a partition.
        """
        setup = self._setup()
        numbers = range(1, self._workers)
        threads = [threading.Thread(target=self._work_with, args=(number, setup), daemon=True) for number in numbers]
        try:
            for thread in threads:
                thread.start()
            while True:
                if run := self._take():
                    stages = run.with_chain(self._chain, self._feed)
                    result = run_partition(self._chain, run.partition, stages, self._on_progress)
                    self._done += 1
                    yield result
                elif self._given_out:
                    yield from self._finished()
                else:
                    return
                while not self._results.empty():
                    yield from self._finished()
        finally:
            self._end(threads)

    def stop(self) -> None:
        """Start no more partitions; those that run go on."""
        with self._lock:
            self._stopped = True
            self._left.clear()

    def _setup(self) -> WorkerSetup:
        chain = self._chain
        return WorkerSetup(
            chain.workflow,
            chain.collection,
            Share(),
            log_levels(),
            self._feed.detached() if self._feed else None,
            asked_newest=self._ask_newest(),
            tells_progress=self._on_progress is not None,
        )

    def _ask_newest(self) -> bool:
        """Begin a full comparison for all processes, before any partition is read; whether the source was asked."""
        if not any(run.mode in ("full", "scan") for run in self._left):
            return False
        try:
            ensure_full_compare(self._chain.context)
        except SourceError as error:  # each partition asks again, and fails with its reason
            log.debug("%s", error)
            return False
        return True

    def _take(self, *, give_out: bool = False) -> PartitionRun | None:
        """The next partition; None if all have begun."""
        with self._lock:
            if not self._left:
                return None
            self._given_out += give_out
            return self._left.popleft()

    def _give_back(self, run: PartitionRun) -> None:
        """Another process is to run this partition."""
        with self._lock:
            if not self._stopped:
                self._left.appendleft(run)
            self._given_out -= 1
        self._results.put(None)

    def _finished(self) -> Iterator[PartitionResult]:
        """Wait for the result of another process; nothing if a partition came back."""
        result = self._results.get()
        if isinstance(result, Exception):
            raise result
        if result is not None:
            with self._lock:
                self._given_out -= 1
            yield result

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """End the other processes; partitions that they run are interrupted."""
        self._over.set()
        with self._lock:
            handles = list(self._handles)
        for handle in handles:
            handle.interrupt()
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join()
        use_share(Share())

    def _work_with(self, number: int, setup: WorkerSetup) -> None:
        """Start a process and give it partitions until there are no more; runs in a thread of its own."""
        # the process inherits this: Ctrl-C comes to the main thread only, which ends the others
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        if not self._wait_until_worth():
            return
        try:
            handle = WorkerHandle(self._chain.collection)
        except OSError as error:
            log.warning("a worker process cannot be started: %s", one_line(error))
            return
        with self._lock:
            self._handles.append(handle)
            if self._over.is_set():
                handle.interrupt()
        try:
            handle.begin(replace(setup, share=Share(number, self._workers)))
            self._give_runs(handle)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self._results.put(error)
        finally:
            handle.end()

    def _wait_until_worth(self) -> bool:
        """Wait until so much work is left that another process helps; False if that never happens."""
        while not self._over.wait(HEAD_START) and self._left:
            seconds_left = (time.monotonic() - self._began) / self._done * len(self._left) if self._done else math.inf
            if seconds_left >= _WORTH * HEAD_START:
                return True
        return False

    def _give_runs(self, handle: WorkerHandle) -> None:
        why = handle.wait_until_ready(self._hear)
        if why is None:
            use_share(Share(0, self._workers))
        elif not self._over.is_set():
            log.warning("%s: %s", self._chain.collection, why)
            return
        while not self._over.is_set() and (run := self._take(give_out=True)) is not None:
            result = handle.run(run, self._hear)
            if result is None:
                self._give_back(run)
                return
            self._results.put(result.error if isinstance(result, Raised) else result)

    def _hear(self, message: object) -> None:
        """What a process tells while it works."""
        if isinstance(message, Progress) and self._on_progress:
            self._on_progress(message.partition, message.stage, message.count)
        elif isinstance(message, ScannedPartition):
            self._chain.sync_state.note_scanned(message)
