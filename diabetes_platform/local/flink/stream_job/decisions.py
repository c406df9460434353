"""Decisions about the stream job, as pure functions of the cluster's and the store's state."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from diabetes_platform.clients.flink import Job

RESTORE_SECONDS = 90.0
"""A restored job that does not run after this time is not expected to recover."""
_RETAINED = 3
"""The number of checkpoints that Flink retains: one to restore, two as fallback."""
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0
_STABLE_SECONDS = 120.0
_UNUSABLE = re.compile(
    r"Could not restore|Cannot find (?:checkpoint|meta ?data)|Cannot find checkpoint or savepoint|"
    r"Failed to (?:rollback|restore|read)|Could not (?:read|load|find) (?:checkpoint|savepoint)|"
    r"Error while (?:reading|deserializing).*(?:state|checkpoint)|StateMigrationException|"
    r"Unexpected magic number|Unrecognized checkpoint|Corrupt|StreamCorruptedException|"
    r"There is no operator for the state|_metadata|restored? from (?:checkpoint|savepoint)"
)


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """A retained checkpoint: completion time (seconds since 1970), URL and job."""

    completed: float
    url: str
    job_id: str


@dataclass(slots=True)
class BackOff:
    """Exponential back-off: the delay doubles after each failure, up to a minute."""

    failures: int = 0
    _healthy_since: float | None = field(default=None)

    def failed(self) -> float:
        """Record a failure and return the delay in seconds."""
        self.failures += 1
        self._healthy_since = None
        return min(_FIRST_WAIT * 2.0 ** (self.failures - 1), _LONGEST_WAIT)

    def healthy(self, monotonic: float) -> None:
        """Record that the job runs; after two minutes the delay is reset."""
        if self._healthy_since is None:
            self._healthy_since = monotonic
        elif monotonic - self._healthy_since > _STABLE_SECONDS:
            self.failures = 0


def running_job(jobs: Sequence[Job], name: str) -> Job | None:
    """Return the job of that name that has not ended, or None."""
    return next((job for job in jobs if job.name == name and not job.ended), None)


def to_restore(checkpoints: Sequence[Checkpoint], unusable: Collection[str]) -> Checkpoint | None:
    """Return the newest checkpoint that is not in `unusable`, or None."""
    usable = [checkpoint for checkpoint in checkpoints if checkpoint.url not in unusable]
    return max(usable, default=None)


def is_checkpoint_failure(message: str) -> bool:
    """Whether Flink's failure message says that the checkpoint cannot be used."""
    return _UNUSABLE.search(message) is not None


def outdated(checkpoints: Sequence[Checkpoint], job_id: str) -> list[str]:
    """Return the other jobs with checkpoints, once `job_id` has enough checkpoints itself."""
    if sum(checkpoint.job_id == job_id for checkpoint in checkpoints) < _RETAINED:
        return []
    return sorted({checkpoint.job_id for checkpoint in checkpoints} - {job_id})
