"""What a report says, as plain values: no value of a patient, nothing of Dagster."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["passed", "not judged", "warning", "failed", "not run"]
STATES: tuple[State, ...] = ("failed", "warning", "not judged", "not run", "passed")
"""The worst first."""

Number = float | int | str


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as a `data:` URI, with what stands in for it."""

    alt: str
    uri: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The latest result of an asset check: what it claims, what it found, when, in which run."""

    name: str
    claim: str
    blocking: bool
    state: State
    said: str = ""
    numbers: tuple[tuple[str, Number], ...] = ()
    figures: tuple[Figure, ...] = ()
    checked_at: datetime | None = None
    url: str | None = None
    docs_url: str | None = None


@dataclass(frozen=True, slots=True)
class AssetReport:
    """One asset: when it was last made, whether that is as recent as promised, its checks."""

    name: str
    description: str
    made_at: datetime | None
    freshness: State | None
    freshness_said: str
    checks: tuple[CheckResult, ...]

    @property
    def state(self) -> State:
        """The worst of its checks and of its freshness."""
        fresh = () if self.freshness is None else (self.freshness,)
        return worst((*fresh, *(check.state for check in self.checks)))


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The newest batch: rows as received, and what became of them. `served` names the batch that
    readers see, which is another one while the newest is refused.
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
class Metric:
    """A measure of a model with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The released model."""

    version: str
    threshold: float
    features: tuple[str, ...]
    rows: int
    prevalence: float | None
    metrics: tuple[Metric, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Candidacy:
    """One time that a candidate met the gate: what was decided of it, and its main measures."""

    decided_at: datetime
    version: str
    released: bool
    decision: str
    auc: float | None
    brier: float | None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """The services of the stream: asked, or None where there are none; troubles by subject."""

    asked: bool
    troubles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The platform at one time (UTC)."""

    made_at: datetime
    batch: BatchReport | None
    assets: tuple[AssetReport, ...]
    model: ModelReport | None
    history: tuple[Candidacy, ...]
    stream: StreamReport
    links: tuple[tuple[str, str], ...]

    @property
    def counts(self) -> dict[State, int]:
        """How many checks there are of each state, the worst first."""
        states = [check.state for asset in self.assets for check in asset.checks]
        return {state: states.count(state) for state in STATES}

    @property
    def state(self) -> State:
        """The worst of all."""
        trouble: tuple[State, ...] = ("failed",) if self.stream.troubles else ()
        return worst((*trouble, *(asset.state for asset in self.assets)))

    @property
    def alarming(self) -> tuple[tuple[str, CheckResult], ...]:
        """Every check that failed or warns, with its asset, the worst first."""
        found = [
            (asset.name, check)
            for asset in self.assets
            for check in asset.checks
            if check.state in {"failed", "warning"}
        ]
        return tuple(sorted(found, key=lambda each: STATES.index(each[1].state)))


def worst(states: Iterable[State]) -> State:
    """Return the worst of some states; of none `not run`. One that passed outweighs such."""
    found = set(states)
    for state in ("failed", "warning"):
        if state in found:
            return state
    return "passed" if "passed" in found else "not judged" if "not judged" in found else "not run"
