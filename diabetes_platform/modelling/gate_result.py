"""Results of the release gate's rules, which the model store keeps, and the decision."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """Candidate minus rival in the mean of one metric, with its 95 % interval."""

    metric: str
    candidate: float
    rival: float
    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.metric}: candidate {self.candidate:.4f}, rival {self.rival:.4f}, difference "
            f"{self.estimate:+.4f} (95 % interval {self.low:+.4f} to {self.high:+.4f})"
        )


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one rule of the gate: the difference in Brier score and the explanation.

    The three numbers are None if nothing could be compared.
    """

    passed: bool
    text: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    differences: tuple[MetricDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a version is released, and the explanation."""

    release: bool
    text: str
