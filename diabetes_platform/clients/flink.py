"""The Flink REST client: slots, jobs, checkpoints and metrics of a cluster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from diabetes_platform.clients.errors import (
    ServiceError,
    ServiceResponseError,
    ServiceUnreachableError,
)
from diabetes_platform.tls import tls

RUNNING = "RUNNING"
_HEADING = "<Exception on server side:"


@dataclass(frozen=True, slots=True)
class Overview:
    """The cluster: its TaskManagers, their slots, and the number of running jobs."""

    task_managers: int
    slots: int
    slots_available: int
    jobs_running: int
    version: str

    def __str__(self) -> str:
        return (
            f"{self.slots_available} of {self.slots} slots free on {self.task_managers} "
            f"TaskManagers, {self.jobs_running} jobs running"
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the cluster; `state` is Flink's, such as RUNNING or FINISHED.

    `started_ms` is in milliseconds since 1970.
    """

    id: str
    name: str
    state: str
    started_ms: int = 0

    @property
    def ended(self) -> bool:
        """Whether the job is in a final state."""
        return self.state in {"FINISHED", "CANCELED", "FAILED"}


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The numbers of a job's checkpoints; the paths of the newest completed and restored one."""

    completed: int
    failed: int
    restored: int
    newest: str | None
    newest_restored: str | None = None


@dataclass(frozen=True, slots=True)
class FlinkCluster:
    """The cluster whose JobManager listens at `url`.

    Methods raise ServiceError if it does not answer within `seconds`, ServiceUnreachableError if
    no connection can be made, and ServiceResponseError if it answers with an error.
    """

    url: str
    seconds: float = 10.0

    def overview(self) -> Overview:
        """Return the slots and TaskManagers that are registered with the JobManager."""
        overview = self._get("/overview")
        return Overview(
            task_managers=overview["taskmanagers"],
            slots=overview["slots-total"],
            slots_available=overview["slots-available"],
            jobs_running=overview["jobs-running"],
            version=overview["flink-version"],
        )

    def jobs(self) -> list[Job]:
        """Return the running jobs and those that have ended since the JobManager started."""
        jobs = self._get("/jobs/overview")["jobs"]
        return [Job(job["jid"], job["name"], job["state"], job["start-time"]) for job in jobs]

    def checkpoints(self, job_id: str) -> Checkpoints:
        """Return the counts and the newest paths of a job's checkpoints."""
        statistics = self._get(f"/jobs/{job_id}/checkpoints")
        counts, latest = statistics["counts"], statistics["latest"]
        newest, restored = latest["completed"], latest["restored"]
        return Checkpoints(
            completed=counts["completed"],
            failed=counts["failed"],
            restored=counts["restored"],
            newest=newest["external_path"] if newest else None,
            newest_restored=restored["external_path"] if restored else None,
        )

    def all_tasks_run(self, job_id: str) -> bool:
        """Return whether the job and each of its tasks run."""
        job = self._get(f"/jobs/{job_id}")
        statuses = {vertex["status"] for vertex in job["vertices"]}
        return job["state"] == RUNNING and statuses == {RUNNING}

    def root_exception(self, job_id: str, since_ms: int = 0) -> str | None:
        """Return the stack trace of a job's latest failure; None without one since then."""
        entries = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        if not entries or entries[0]["timestamp"] < since_ms:
            return None
        return str(entries[0]["stacktrace"])

    def vertices(self, job_id: str) -> list[str]:
        """Return the ids of a job's vertices; a vertex is a chain of operators."""
        return [vertex["id"] for vertex in self._get(f"/jobs/{job_id}")["vertices"]]

    def metric_names(self, job_id: str, vertex: str) -> list[str]:
        """Return the metric names of a vertex's subtasks."""
        metrics = self._get(f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics")
        return [metric["id"] for metric in metrics]

    def metric_sums(self, job_id: str, vertex: str, names: Sequence[str]) -> dict[str, int]:
        """Return the sum of each integer metric over the subtasks of a vertex."""
        if not names:
            return {}
        query = urlencode({"get": ",".join(names), "agg": "sum"})
        metrics = self._get(f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics?{query}")
        return {metric["id"]: int(metric["sum"]) for metric in metrics}

    def cancel(self, job_id: str) -> None:
        """Cancel a job; its newest checkpoints are kept."""
        self._request("PATCH", f"/jobs/{job_id}")

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        try:
            return self._request("GET", path).json()
        except ValueError as error:
            raise ServiceResponseError(f"Flink answers GET {path} without JSON") from error

    def _request(self, method: str, path: str) -> httpx.Response:
        try:
            response = httpx.request(
                method, self.url + path, timeout=self.seconds, verify=tls(), trust_env=False
            )
            response.raise_for_status()
        except httpx.HTTPStatusError as error:
            answer = f"{error.response.status_code} {error_line(error.response.text)}"
            raise ServiceResponseError(f"Flink answers {method} {path} with {answer}") from error
        except httpx.HTTPError as error:
            text = f"Flink's JobManager does not answer at {self.url}"
            if isinstance(error, httpx.ConnectError):
                raise ServiceUnreachableError(text) from error
            raise ServiceError(text) from error
        return response


def error_line(body: str) -> str:
    """Return the first line of the stack trace in an error response, or of the response itself."""
    try:
        text = str(json.loads(body)["errors"][-1])
    except (ValueError, LookupError, TypeError):
        text = body
    lines = [line for line in text.splitlines() if line and not line.startswith(_HEADING)]
    return lines[0] if lines else "no reason given"
