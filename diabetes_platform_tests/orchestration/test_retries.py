"""Retries of failed steps."""

import dagster as dg
import pytest

from diabetes_platform.orchestration import retries
from diabetes_platform.orchestration.retries import retried


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0, 0))


def attempts_and_events(*errors: BaseException) -> tuple[int, list[str]]:
    """Return the attempts of a step that raises these errors in turn, and its final event."""
    remaining, attempts = list(errors), []

    @dg.asset
    @retried
    def patients() -> None:
        attempts.append(1)
        if remaining:
            raise remaining.pop(0)

    result = dg.materialize([patients], raise_on_error=False)
    kinds = [event.event_type_value for event in result.all_events if event.is_step_event]
    return len(attempts), [kind for kind in kinds if kind in {"STEP_SUCCESS", "STEP_FAILURE"}]


def test_retries_an_infrastructure_error_twice() -> None:
    away = ConnectionError("the database is away")
    assert attempts_and_events(away, away) == (3, ["STEP_SUCCESS"])
    assert attempts_and_events(away, away, away) == (3, ["STEP_FAILURE"])


def test_does_not_retry_a_failure() -> None:
    refused = dg.Failure("no table of patients", allow_retries=False)
    assert attempts_and_events(refused) == (1, ["STEP_FAILURE"])


def test_does_not_retry_an_interrupted_step() -> None:
    assert attempts_and_events(KeyboardInterrupt()) == (1, ["STEP_FAILURE"])


def test_reports_the_original_error() -> None:
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


def test_keeps_the_name_and_inputs_of_a_step() -> None:
    @retried
    def patients(context: dg.AssetExecutionContext, raw: int) -> None:
        """Count patients."""

    asset = dg.asset(patients)
    assert asset.op.name == "patients"
    assert set(asset.keys_by_input_name) == {"raw"}
