"""Dagster's default launcher, which also tells run monitoring when the process of a run is gone.

If the process of a run is killed, its code server reports that. If the code server dies too, nothing reports it: the
run stays STARTED until its maximum runtime is over, and the sensor would not run its partition until then.
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
    """Launches runs on code servers, and knows whether their processes are alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True, so that run monitoring calls `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """RUNNING also if it is not known; then the maximum runtime of a run decides."""
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
        """Whether the code server of the run still knows it; None if the server does not answer."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return None
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=5)
        except DagsterUserCodeUnreachableError:
            return None
        return bool(deserialize_value(answer, CanCancelExecutionResult).can_cancel)

    def _process(self, run_id: str) -> tuple[int, float] | None:
        """The process of a run, and when it started (seconds since 1970)."""
        events = self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        said = ((_STARTED.search(event.message or ""), event.timestamp) for event in events)
        return next(((int(match[1]), when) for match, when in said if match), None)


def _is_alive(pid: int, since: float) -> bool:
    """Whether a process of this host still runs; a process that started later has only the same number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
