"""Dagster's own launcher, which in addition tells run monitoring when the process of a run is gone.

A code server reports that a run's process ended badly. When the server dies too, nobody does, and the run stays STARTED
until its longest allowed time is over; as long as that, the sensor would leave its partition alone.
"""

import json
import re
from typing import Any

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster_shared.serdes import deserialize_value

__all__ = ["MonitoredRunLauncher"]

_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")
_THIS_HOST = ("localhost", "127.0.0.1", "::1")


class MonitoredRunLauncher(dg.DefaultRunLauncher):
    """Launches runs on code servers, and knows whether they are still being worked on."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks only then."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """RUNNING also where it cannot be told: then the longest allowed time of a run decides."""
        known = self._server_knows(run.run_id)
        if known:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        server: dict[str, Any] = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("socket") or server.get("host") in _THIS_HOST:
            started = self._process(run.run_id)
            gone = started is not None and not _is_alive(*started)
        else:
            gone = known is False
        if gone:
            return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _server_knows(self, run_id: str) -> bool | None:
        """Whether the server that started the run still works on it; None where it does not answer."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return None
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=5)
        except DagsterUserCodeUnreachableError:
            return None
        return bool(deserialize_value(answer, CanCancelExecutionResult).can_cancel)

    def _process(self, run_id: str) -> tuple[int, float] | None:
        """The process that works on a run, and when it said so (seconds since 1970)."""
        events = self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        said = ((_STARTED.search(event.message or ""), event.timestamp) for event in events)
        return next(((int(match[1]), when) for match, when in said if match), None)


def _is_alive(pid: int, since: float) -> bool:
    """Whether a process of this host that was there at an instant still runs; another may have its number by now."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
