"""Whether every message that the stream's job received is accounted for, by several looks at it.

Flink tells its counters some seconds late, and not all of one moment: while messages flow, one look
says little. A look at which all are accounted for settles it.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import RUNNING, FlinkCluster
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.streaming.counters import Counters, read_counters

LOOKS = 7
SECONDS_BETWEEN = 5.0
"""Flink gathers its counters every ten seconds: three times in all."""
_SECONDS = 5.0


class NoBalanceError(RuntimeError):
    """The job cannot be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Balance:
    """The verdict on some looks; `counters` are those of the look with the fewest unaccounted.

    `flow` is the most that was received between two looks.
    """

    verdict: Literal["balanced", "under way", "unbalanced"]
    counters: Counters
    flow: int
    looks: int

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if self.verdict == "balanced":
            return f"every message is accounted for: {self.counters}"
        gap = f"{abs(self.counters.unaccounted):,} messages"
        if self.verdict == "under way":
            return (
                f"not judged: messages flowed at each of {self.looks} looks; {gap} unaccounted "
                f"for, no more than the {self.flow:,} that came between two looks"
            )
        return f"{gap} unaccounted for at each of {self.looks} looks: {self.counters}"


def judge(looks: Sequence[Counters]) -> Balance:
    """Judge looks in their order; ValueError without any.

    Counters that fell began anew with the job: what was before is left out.
    """
    if not looks:
        raise ValueError("looks: given none, allowed at least one")
    since = max((n for n in range(1, len(looks)) if _fell(looks[n - 1], looks[n])), default=0)
    seen = looks[since:]
    pairs = itertools.pairwise(seen)
    flow = max((after.received - before.received for before, after in pairs), default=0)
    best = min(seen, key=lambda each: abs(each.unaccounted))
    verdict: Literal["balanced", "under way", "unbalanced"] = "unbalanced"
    if best.balanced:
        verdict = "balanced"
    elif abs(best.unaccounted) <= flow:
        verdict = "under way"
    return Balance(verdict, best, flow, len(seen))


def look_at_job(flink_url: str, looks: int = LOOKS, pause: float = SECONDS_BETWEEN) -> Balance:
    """Look at the running job until it balances, at most `looks` times, `pause` seconds apart.

    Raises NoBalanceError where it does not run or Flink does not answer.
    """
    cluster = FlinkCluster(flink_url, seconds=_SECONDS)
    try:
        return judge(list(_looks(cluster, _running_job(cluster), looks, pause)))
    except ServiceError as error:
        raise NoBalanceError(str(error)) from error


def _running_job(cluster: FlinkCluster) -> str:
    running = [job for job in cluster.jobs() if (job.name, job.state) == (STREAM_JOB, RUNNING)]
    if not running:
        raise NoBalanceError(f"job {STREAM_JOB} does not run")
    return running[-1].id


def _looks(cluster: FlinkCluster, job_id: str, most: int, pause: float) -> Iterator[Counters]:
    for number in range(most):
        if number:
            time.sleep(pause)
        found = read_counters(cluster, job_id)
        yield found
        if found.balanced:
            return


def _fell(before: Counters, after: Counters) -> bool:
    return after.received < before.received
