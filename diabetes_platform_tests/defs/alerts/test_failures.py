"""Why a run failed, from the events of real runs."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from diabetes_platform.defs.alerts.failures import describe_failure, first_line, root_cause

UI = "http://127.0.0.1:3000"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@dg.asset
def patients() -> None:
    """An asset that three checks judge."""


@dg.asset_check(asset=patients, blocking=True)
def both_outcomes() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


@dg.asset_check(asset=patients, blocking=True)
def plausible() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset_check(asset=patients)
def like_before() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


@dg.asset(deps=[patients])
def served() -> None:
    """An asset that a failed check keeps back."""


def parse() -> None:
    raise ValueError("line 7: given 700\nallowed 10 to 100")


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def unreadable() -> None:
    try:
        parse()
    except ValueError as error:
        raise RuntimeError("the batch is refused") from error


def test_a_blocking_check_that_failed_is_named_and_a_warning_is_not(
    instance: dg.DagsterInstance,
) -> None:
    judged = [patients, both_outcomes, plausible, like_before, served]
    result = dg.materialize(judged, instance=instance, raise_on_error=False)
    alert = describe_failure(instance, result.run_id, UI)
    assert not result.success
    assert alert.failed_checks == ("patients: both_outcomes",)
    assert alert.run_url == f"{UI}/runs/{result.run_id}"
    assert alert.text.startswith(f"{alert.job} failed at patients: both_outcomes: ")


def test_a_step_that_failed_is_named_with_what_went_wrong_first(
    instance: dg.DagsterInstance,
) -> None:
    result = dg.materialize([unreadable], instance=instance, raise_on_error=False)
    alert = describe_failure(instance, result.run_id, UI)
    assert alert.failed_checks == ()
    assert alert.failed_steps == ("unreadable",)
    assert alert.message == "ValueError: line 7: given 700"


def test_a_run_that_nobody_knows(instance: dg.DagsterInstance) -> None:
    with pytest.raises(LookupError, match="run 1 is not in the event log"):
        describe_failure(instance, "1", UI)


@dataclass(frozen=True)
class Told:
    message: str
    cause: "Told | None" = None


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Told("one\ntwo"), "one"),
        (Told("outer", Told("inner")), "inner"),
        (Told(""), "it failed without saying why"),
        (None, "it failed without saying why"),
    ],
)
def test_the_root_cause_is_one_line(error: Told | None, cause: str) -> None:
    assert root_cause(error) == cause


@pytest.mark.parametrize(
    ("text", "line"), [("\n one\ntwo", "one"), ("", "it failed without saying why")]
)
def test_a_message_is_cut_to_its_first_line(text: str, line: str) -> None:
    assert first_line(text) == line
