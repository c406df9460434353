"""What is to be done about the job, as pure functions of what the cluster and the store say."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from diabetes_platform.clients.flink import Job

RESTORE_SECONDS = 90.0
"""A job that has not gone on from its checkpoint by then will not."""
_ENOUGH = 3
"""As many as Flink retains of a job: one to go on from, two to fall back to."""
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0
_SETTLED_SECONDS = 120.0
_SPOILT = re.compile(
    r"Could not restore|Cannot find (?:checkpoint|meta ?data)|Cannot find checkpoint or savepoint|"
    r"Failed to (?:rollback|restore|read)|Could not (?:read|load|find) (?:checkpoint|savepoint)|"
    r"Error while (?:reading|deserializing).*(?:state|checkpoint)|StateMigrationException|"
    r"Unexpected magic number|Unrecognized checkpoint|Corrupt|StreamCorruptedException|"
    r"There is no operator for the state|_metadata|restored? from (?:checkpoint|savepoint)"
)


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """A retained checkpoint: when it was completed (s since 1970), where, of which job."""

    completed: float
    url: str
    job_id: str


@dataclass(slots=True)
class BackOff:
    """How long to wait before the next try: twice as long after each failure, up to a minute."""

    failures: int = 0
    _healthy_since: float | None = field(default=None)

    def failed(self) -> float:
        """Note a failure and return the seconds to wait."""
        self.failures += 1
        self._healthy_since = None
        return min(_FIRST_WAIT * 2.0 ** (self.failures - 1), _LONGEST_WAIT)

    def healthy(self, now: float) -> None:
        """Note that the job runs; after two minutes all failures are forgotten."""
        if self._healthy_since is None:
            self._healthy_since = now
        elif now - self._healthy_since > _SETTLED_SECONDS:
            self.failures = 0


def current(jobs: Sequence[Job], name: str) -> Job | None:
    """Return the job of that name that has not ended; None where there is none."""
    return next((job for job in jobs if job.name == name and not job.ended), None)


def to_restore(checkpoints: Sequence[Checkpoint], unusable: Collection[str]) -> Checkpoint | None:
    """Return the newest checkpoint that has not been found unusable; None where there is none."""
    usable = [checkpoint for checkpoint in checkpoints if checkpoint.url not in unusable]
    return max(usable, default=None)


def spoils(said: str) -> bool:
    """Whether what Flink says of a failure is that the checkpoint cannot be used."""
    return _SPOILT.search(said) is not None


def outdated(checkpoints: Sequence[Checkpoint], job_id: str) -> list[str]:
    """Return the jobs whose checkpoints nobody needs once `job_id` has enough of its own."""
    if sum(checkpoint.job_id == job_id for checkpoint in checkpoints) < _ENOUGH:
        return []
    return sorted({each.job_id for each in checkpoints} - {job_id})
