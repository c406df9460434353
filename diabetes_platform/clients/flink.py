"""What a Flink cluster tells of itself over its REST interface: slots, jobs, checkpoints."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from diabetes_platform.clients.errors import RefusedError, ServiceError
from diabetes_platform.tls import tls

RUNNING = "RUNNING"
_HEADING = "<Exception on server side:"


@dataclass(frozen=True, slots=True)
class Overview:
    """The cluster as a whole: its TaskManagers, their slots, and how many jobs run."""

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
    """A job that the JobManager knows; `state` in Flink's words, as RUNNING or FINISHED.

    `started_ms` is since 1970.
    """

    id: str
    name: str
    state: str
    started_ms: int = 0

    @property
    def ended(self) -> bool:
        """Whether it will not run again."""
        return self.state in {"FINISHED", "CANCELED", "FAILED"}


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """A job's checkpoints: how many there were, and where the newest lies."""

    completed: int
    failed: int
    restored: int
    newest: str | None


@dataclass(frozen=True, slots=True)
class FlinkCluster:
    """The cluster whose JobManager listens at `url`.

    Every method raises ServiceError where it does not answer within `seconds`, and RefusedError
    where it answers with an error.
    """

    url: str
    seconds: float = 10.0

    def overview(self) -> Overview:
        """Return slots and TaskManagers as the JobManager knows them now."""
        told = self._get("/overview")
        return Overview(
            task_managers=told["taskmanagers"],
            slots=told["slots-total"],
            slots_available=told["slots-available"],
            jobs_running=told["jobs-running"],
            version=told["flink-version"],
        )

    def jobs(self) -> list[Job]:
        """Return running jobs and those that ended since the JobManager started."""
        told = self._get("/jobs/overview")["jobs"]
        return [Job(job["jid"], job["name"], job["state"], job["start-time"]) for job in told]

    def checkpoints(self, job_id: str) -> Checkpoints:
        """Return what became of a job's checkpoints."""
        told = self._get(f"/jobs/{job_id}/checkpoints")
        counts, newest = told["counts"], told["latest"]["completed"]
        return Checkpoints(
            completed=counts["completed"],
            failed=counts["failed"],
            restored=counts["restored"],
            newest=newest["external_path"] if newest else None,
        )

    def all_tasks_run(self, job_id: str) -> bool:
        """Whether a job runs with every one of its tasks."""
        told = self._get(f"/jobs/{job_id}")
        statuses = {vertex["status"] for vertex in told["vertices"]}
        return told["state"] == RUNNING and statuses == {RUNNING}

    def root_exception(self, job_id: str) -> str | None:
        """Return the stack trace of a job's latest failure; None where it has not failed."""
        entries = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        return str(entries[0]["stacktrace"]) if entries else None

    def vertices(self, job_id: str) -> list[str]:
        """Return the ids of a job's vertices, each a chain of operators."""
        return [vertex["id"] for vertex in self._get(f"/jobs/{job_id}")["vertices"]]

    def metric_names(self, job_id: str, vertex: str) -> list[str]:
        """Return the names of the metrics of a vertex's subtasks."""
        told: list[dict[str, str]] = self._request(
            "GET", f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics"
        ).json()
        return [metric["id"] for metric in told]

    def metric_sums(self, job_id: str, vertex: str, names: Sequence[str]) -> dict[str, int]:
        """Return whole-number metrics by name, each summed over the subtasks of a vertex."""
        if not names:
            return {}
        asked = urlencode({"get": ",".join(names), "agg": "sum"})
        path = f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics?{asked}"
        told: list[dict[str, Any]] = self._request("GET", path).json()
        return {metric["id"]: int(metric["sum"]) for metric in told}

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end; its newest checkpoints stay."""
        self._request("PATCH", f"/jobs/{job_id}")

    def _get(self, path: str) -> dict[str, Any]:
        told: dict[str, Any] = self._request("GET", path).json()
        return told

    def _request(self, method: str, path: str) -> httpx.Response:
        try:
            answer = httpx.request(
                method, self.url + path, timeout=self.seconds, verify=tls(), trust_env=False
            )
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            said = f"{error.response.status_code} {first_line(error.response.text)}"
            raise RefusedError(f"Flink answers {method} {path} with {said}") from error
        except httpx.HTTPError as error:
            raise ServiceError(f"Flink's JobManager does not answer at {self.url}") from error
        return answer


def first_line(body: str) -> str:
    """Return what is wrong from an answer of Flink's: a stack trace in JSON, or anything else."""
    try:
        told = str(json.loads(body)["errors"][-1])
    except (ValueError, LookupError, TypeError):
        told = body
    lines = [line for line in told.splitlines() if line and not line.startswith(_HEADING)]
    return lines[0] if lines else "it does not say why"
