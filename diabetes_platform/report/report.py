"""The content of a report as plain values, without patients' values and without Dagster types."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["passed", "inconclusive", "warning", "failed", "not run"]
STATES: tuple[State, ...] = ("failed", "warning", "inconclusive", "not run", "passed")
"""The most severe state first."""

Number = float | int | str


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as a `data:` URI with its alternative text."""

    alt: str
    uri: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The latest result of an asset check.

    `claim` states what the check verifies, `description` what the latest evaluation reported.
    """

    name: str
    claim: str
    blocking: bool
    state: State
    description: str = ""
    numbers: tuple[tuple[str, Number], ...] = ()
    figures: tuple[Figure, ...] = ()
    checked_at: datetime | None = None
    url: str | None = None
    docs_url: str | None = None


@dataclass(frozen=True, slots=True)
class AssetReport:
    """One asset: its latest materialization, its freshness and its checks."""

    name: str
    description: str
    materialized_at: datetime | None
    freshness: State | None
    freshness_reason: str
    checks: tuple[CheckResult, ...]

    @property
    def state(self) -> State:
        """The most severe state of its checks and its freshness."""
        freshness = () if self.freshness is None else (self.freshness,)
        return most_severe((*freshness, *(check.state for check in self.checks)))


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The newest batch with its row counts.

    `served` is the batch id that readers see. It differs from `batch_id` if the newest batch was
    rejected.
    """

    batch_id: str
    source: str
    received_at: datetime
    rows: int
    accepted: int | None
    rejected: int | None
    reasons: tuple[tuple[str, int], ...]
    served: str | None
    served_rows: int | None


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The released model; `metrics` maps a name to `value` and its 95 % interval `low`, `high`."""

    version: str
    threshold: float
    features: tuple[str, ...]
    rows: int
    prevalence: float | None
    metrics: Mapping[str, Mapping[str, float]]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class ReleaseDecision:
    """The decision of the gate about a candidate, with the candidate's main metrics."""

    decided_at: datetime
    version: str
    released: bool
    decision: str
    auc: float | None
    brier: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the platform at one time (UTC).

    `stream_issues` are the health issues of the stream's services as (subject, problem); None
    without a stream.
    """

    created_at: datetime
    batch: BatchReport | None
    assets: tuple[AssetReport, ...]
    model: ModelReport | None
    history: tuple[ReleaseDecision, ...]
    stream_issues: tuple[tuple[str, str], ...] | None
    links: tuple[tuple[str, str], ...]

    @property
    def counts(self) -> dict[State, int]:
        """The number of checks in each state, in the order of STATES."""
        states = [check.state for asset in self.assets for check in asset.checks]
        return {state: states.count(state) for state in STATES}

    @property
    def state(self) -> State:
        """The most severe state of all assets and services."""
        stream: tuple[State, ...] = ("failed",) if self.stream_issues else ()
        return most_severe((*stream, *(asset.state for asset in self.assets)))

    @property
    def failures(self) -> tuple[tuple[str, CheckResult], ...]:
        """Every check that failed or warns, with its asset's name, most severe first."""
        failures = [
            (asset.name, check)
            for asset in self.assets
            for check in asset.checks
            if check.state in {"failed", "warning"}
        ]
        return tuple(sorted(failures, key=lambda failure: STATES.index(failure[1].state)))


def most_severe(states: Iterable[State]) -> State:
    """Return the most severe state, or `not run` without any.

    One passed check is enough: checks that are inconclusive or have not run then do not count.
    """
    present = set(states)
    order: tuple[State, ...] = ("failed", "warning", "passed", "inconclusive")
    return next((state for state in order if state in present), "not run")
