"""Automation conditions of the real code location: requests for a batch and its successors."""

import time
from collections.abc import Iterator

import dagster as dg
import pytest

from diabetes_platform.dagster_internals import FreshnessState, FreshnessStateChange
from diabetes_platform.definitions import build_definitions
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    CHAMPION,
    CLEANED,
    LABELS,
    MONITORING,
    QUARANTINE,
    RAW,
    SERVING,
    SHADOW,
    STAGING,
    STATISTICS,
    STREAM,
    TRAINING_ROWS,
)
from diabetes_platform.settings import PlatformSettings

CHAIN = {
    LABELS, CLEANED, STATISTICS, QUARANTINE, STAGING, SERVING, TRAINING_ROWS, CANDIDATE, SHADOW,
    CHAMPION,
}  # fmt: skip
DRIFT = "no_drift_glucose"
WAITING = "few_labels_wait"


class Automation:
    """The automation conditions of the platform over an event log that a test writes."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.definitions = build_definitions(PlatformSettings)
        self.evaluation: dg.EvaluateAutomationConditionsResult | None = None

    def materialize(self, *keys: dg.AssetKey) -> None:
        for key in keys:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key))

    def evaluate(
        self, key: dg.AssetKey, name: str, *, passed: bool, blocking: bool = False
    ) -> None:
        severity = dg.AssetCheckSeverity
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=name,
                passed=passed,
                metadata={},
                severity=severity.ERROR if blocking else severity.WARN,
            )
        )

    def set_freshness(self, key: dg.AssetKey, state: FreshnessState) -> None:
        """Report a freshness state, as Dagster's daemon does."""
        change = FreshnessStateChange(
            key=key,
            previous_state=FreshnessState.UNKNOWN,
            new_state=state,
            state_change_timestamp=time.time(),
        )
        self.instance.report_runless_asset_event(change)

    def requested(self) -> set[dg.AssetKey]:
        """Evaluate the conditions once and return the requested assets."""
        cursor = None if self.evaluation is None else self.evaluation.cursor
        self.evaluation = dg.evaluate_automation_conditions(
            self.definitions, self.instance, dg.AssetSelection.assets(*CHAIN), cursor=cursor
        )
        self.checks = {
            result.key.name
            for result in self.evaluation.results
            if isinstance(result.key, dg.AssetCheckKey) and not result.true_subset.is_empty
        }
        return {key for key in CHAIN if self.evaluation.get_num_requested(key)}


@pytest.fixture
def automation() -> Iterator[Automation]:
    """A platform that ran one batch, after which the conditions were evaluated."""
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(instance)
        automation.materialize(RAW, STREAM, *CHAIN)
        automation.evaluate(MONITORING, WAITING, passed=True)
        automation.evaluate(MONITORING, DRIFT, passed=True)
        graph = automation.definitions.resolve_asset_graph()
        for check in graph.asset_check_keys:
            if graph.get(check).blocking:
                automation.evaluate(check.asset_key, check.name, passed=True, blocking=True)
        assert automation.requested() == set()
        yield automation


def test_requests_nothing_without_an_update(automation: Automation) -> None:
    assert automation.requested() == set()
    automation.materialize(STREAM)
    assert automation.requested() == set(), "an increment of the stream requests no batch"


@pytest.mark.parametrize(("key", "check"), [(MONITORING, WAITING), (MONITORING, DRIFT)])
def test_enough_labels_or_drift_request_one_batch(
    automation: Automation, key: dg.AssetKey, check: str
) -> None:
    automation.evaluate(key, check, passed=False)
    assert automation.requested() == set(CHAIN)
    automation.evaluate(key, check, passed=False)
    assert automation.requested() == set(), "it still fails, and the batch was requested"
    automation.materialize(*CHAIN)
    automation.evaluate(key, check, passed=True)
    assert automation.requested() == set()
    automation.evaluate(key, check, passed=False)
    assert automation.requested() == set(CHAIN), "it fails again after it has passed"


def test_a_check_that_still_fails_requests_nothing_after_an_increment(
    automation: Automation,
) -> None:
    automation.evaluate(MONITORING, DRIFT, passed=False)
    assert automation.requested() == set(CHAIN)
    automation.materialize(*CHAIN)
    automation.requested()
    automation.materialize(STREAM)
    automation.requested()
    automation.evaluate(MONITORING, DRIFT, passed=False)
    assert automation.requested() == set()


def test_a_stale_training_set_requests_one_batch(automation: Automation) -> None:
    automation.set_freshness(SERVING, FreshnessState.FAIL)
    automation.set_freshness(TRAINING_ROWS, FreshnessState.WARN)
    assert automation.requested() == set()
    automation.set_freshness(TRAINING_ROWS, FreshnessState.FAIL)
    assert automation.requested() == set(CHAIN)
    assert automation.requested() == set()


def test_a_skipped_training_requests_no_batch(automation: Automation) -> None:
    """The daily batch promotes rows without outcomes, so only the training set becomes stale."""
    automation.set_freshness(TRAINING_ROWS, FreshnessState.FAIL)
    assert automation.requested() == set()


def test_blocking_checks_are_requested_with_their_asset(automation: Automation) -> None:
    graph = automation.definitions.resolve_asset_graph()
    separate = {
        key.name
        for key in graph.asset_check_keys
        if graph.get(key).blocking and not graph.get_execution_set_asset_and_check_keys(key) & CHAIN
    }
    assert separate >= {"nothing_vanished", "has_rows", "serves_whole_version"}

    automation.evaluate(MONITORING, WAITING, passed=False)
    assert automation.requested() == set(CHAIN)
    assert separate <= automation.checks

    automation.materialize(*CHAIN)
    assert automation.requested() == set()
    automation.materialize(STAGING)
    automation.requested()
    assert automation.checks == {"serves_whole_version"}


def test_two_reasons_at_once_request_one_batch(automation: Automation) -> None:
    automation.evaluate(MONITORING, WAITING, passed=False)
    automation.evaluate(MONITORING, DRIFT, passed=False)
    assert automation.requested() == set(CHAIN)
    assert automation.requested() == set()


def test_other_checks_of_the_stream_request_nothing(automation: Automation) -> None:
    automation.evaluate(MONITORING, "same_features", passed=False)
    assert automation.requested() == set()


def test_newly_promoted_rows_request_a_model(automation: Automation) -> None:
    automation.materialize(SERVING)
    assert automation.requested() == {TRAINING_ROWS, CANDIDATE, SHADOW, CHAMPION}


def test_a_new_source_requests_everything_downstream(automation: Automation) -> None:
    automation.materialize(RAW)
    assert automation.requested() == set(CHAIN) - {LABELS}


def test_a_failed_blocking_check_stops_the_assets_downstream(automation: Automation) -> None:
    automation.materialize(STAGING)
    automation.evaluate(STAGING, "has_rows", passed=False, blocking=True)
    assert automation.requested() == set()


@pytest.mark.parametrize(
    ("key", "check", "downstream"),
    [
        (STAGING, "glucose_distribution_near_previous_batch", SERVING),
        (STAGING, "row_count_not_collapsed", SERVING),
        (QUARANTINE, "few_rows_rejected", STAGING),
    ],
)
def test_a_warning_of_a_check_that_can_block_stops_nothing(
    automation: Automation, key: dg.AssetKey, check: str, downstream: dg.AssetKey
) -> None:
    automation.materialize(key)
    automation.evaluate(key, check, passed=False)
    assert downstream in automation.requested()


def test_a_platform_without_a_batch_requests_nothing() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(instance)
        automation.materialize(STREAM)
        assert automation.requested() == set()
        automation.evaluate(MONITORING, WAITING, passed=False)
        automation.evaluate(MONITORING, DRIFT, passed=False)
        assert automation.requested() == set()
