"""The terms of an expectation: its specification, and the promoted version it may compare with.

Pure and light, so that Dagster's code location can import it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]
Kwargs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Partition:
    """A histogram: `bins` are n + 1 rising edges, `weights` n shares that sum to 1."""

    bins: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PreviousBatch:
    """What the promoted version says about the next: rows, and each feature's histogram."""

    row_count: int
    partitions: Mapping[str, Partition]


@dataclass(frozen=True, slots=True)
class ExpectationSpec:
    """One truth about the staged batch; `name` is stable, it names the Dagster asset check.

    `type` is the expectation's name in Great Expectations, `kwargs` its arguments. A failed
    `error` stops the batch, a failed `warning` does not. `compare` renders the arguments that
    depend on the promoted version; None from it: there is nothing to compare with.
    """

    name: str
    type: str
    kwargs: Kwargs
    severity: Severity
    description: str
    column: str | None = None
    compare: Callable[[PreviousBatch], Kwargs | None] | None = None


def bound_kwargs(spec: ExpectationSpec, previous: PreviousBatch | None) -> Kwargs | None:
    """Return the complete arguments of `spec`, or None where it needs a version to compare with."""
    if spec.compare is None:
        return spec.kwargs
    compared = None if previous is None else spec.compare(previous)
    return None if compared is None else {**spec.kwargs, **compared}
