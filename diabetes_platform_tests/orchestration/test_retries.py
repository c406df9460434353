"""Which failed steps are tried again."""

import dagster as dg
import pytest

from diabetes_platform.orchestration import retries
from diabetes_platform.orchestration.retries import retried


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0, 0))


def tries_of(*errors: BaseException) -> tuple[int, list[str]]:
    """How often a step was tried that meets these errors in turn, and what came of it."""
    left, tried = list(errors), []

    @dg.asset
    @retried
    def patients() -> None:
        tried.append(1)
        if left:
            raise left.pop(0)

    result = dg.materialize([patients], raise_on_error=False)
    kinds = [event.event_type_value for event in result.all_events if event.is_step_event]
    return len(tried), [kind for kind in kinds if kind in {"STEP_SUCCESS", "STEP_FAILURE"}]


def test_an_error_of_infrastructure_is_tried_twice_more() -> None:
    away = ConnectionError("the database is away")
    assert tries_of(away, away) == (3, ["STEP_SUCCESS"])
    assert tries_of(away, away, away) == (3, ["STEP_FAILURE"])


def test_a_refusal_is_final() -> None:
    refused = dg.Failure("no table of patients", allow_retries=False)
    assert tries_of(refused) == (1, ["STEP_FAILURE"])


def test_a_step_that_was_interrupted_is_not_tried_again() -> None:
    assert tries_of(KeyboardInterrupt()) == (1, ["STEP_FAILURE"])


def test_dagster_is_told_the_error_itself() -> None:
    @dg.asset
    @retried
    def patients() -> None:
        raise ConnectionError("the database is away")

    result = dg.materialize([patients], raise_on_error=False)
    (failure,) = result.get_step_failure_events()
    cause = failure.step_failure_data.error
    while cause is not None and cause.cause is not None:
        cause = cause.cause
    assert cause is not None
    assert "the database is away" in cause.message


def test_a_step_keeps_its_name_and_what_it_asks_for() -> None:
    @retried
    def patients(context: dg.AssetExecutionContext, raw: int) -> None:
        """Count patients."""

    made = dg.asset(patients)
    assert made.op.name == "patients"
    assert set(made.keys_by_input_name) == {"raw"}
