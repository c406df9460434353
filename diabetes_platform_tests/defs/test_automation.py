"""What asks for a batch, and what follows it: the conditions of the real code location."""

import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from diabetes_platform.definitions import build_definitions
from diabetes_platform.orchestration.automation import AUTOMATED
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    CHAMPION,
    LABELS,
    RAW,
    SERVING,
    SHADOW,
    STAGING,
    STREAM,
    TRAINING_ROWS,
)
from diabetes_platform.settings import PlatformSettings

CHAIN = set(AUTOMATED)
DRIFT = "no_drift_glucose"
WAITING = "few_labels_wait"


class Automation:
    """The conditions of the platform, looked at once a minute, over a log that a test writes."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.definitions = build_definitions(PlatformSettings)
        self.seen: dg.EvaluateAutomationConditionsResult | None = None

    def made(self, *keys: dg.AssetKey) -> None:
        for key in keys:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key))

    def judged(self, key: dg.AssetKey, name: str, *, passed: bool, blocking: bool = False) -> None:
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

    def aged(self, key: dg.AssetKey, state: FreshnessState) -> None:
        """Tell how fresh an asset is, as Dagster's own daemon does."""
        change = FreshnessStateChange(
            key=key,
            previous_state=FreshnessState.UNKNOWN,
            new_state=state,
            state_change_timestamp=time.time(),
        )
        self.instance._report_runless_asset_event(change)

    def asks_for(self) -> set[dg.AssetKey]:
        """Look once, and return the assets that a run is asked for."""
        cursor = None if self.seen is None else self.seen.cursor
        self.seen = dg.evaluate_automation_conditions(
            self.definitions, self.instance, dg.AssetSelection.assets(*CHAIN), cursor=cursor
        )
        self.checks = {
            found.key.name
            for found in self.seen.results
            if isinstance(found.key, dg.AssetCheckKey) and not found.true_subset.is_empty
        }
        return {key for key in CHAIN if self.seen.get_num_requested(key)}


@pytest.fixture
def automation() -> Iterator[Automation]:
    """A platform that has run one batch, and whose conditions have been looked at since."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Automation(instance)
        made.made(RAW, STREAM, *CHAIN)
        made.judged(LABELS, WAITING, passed=True)
        made.judged(STREAM, DRIFT, passed=True)
        graph = made.definitions.resolve_asset_graph()
        for check in graph.asset_check_keys:
            if graph.get(check).blocking:
                made.judged(check.asset_key, check.name, passed=True, blocking=True)
        assert made.asks_for() == set()
        yield made


def test_nothing_new_asks_for_nothing(automation: Automation) -> None:
    assert automation.asks_for() == set()
    automation.made(STREAM)
    assert automation.asks_for() == set(), "an increment of the stream is no batch"


@pytest.mark.parametrize(("key", "check"), [(LABELS, WAITING), (STREAM, DRIFT)])
def test_enough_labels_and_drift_each_ask_for_a_whole_batch_once(
    automation: Automation, key: dg.AssetKey, check: str
) -> None:
    automation.judged(key, check, passed=False)
    assert automation.asks_for() == set(CHAIN)
    automation.judged(key, check, passed=False)
    assert automation.asks_for() == set(), "it fails still: the batch was asked for"
    automation.made(*CHAIN)
    automation.judged(key, check, passed=True)
    assert automation.asks_for() == set()
    automation.judged(key, check, passed=False)
    assert automation.asks_for() == set(CHAIN), "and again when it fails anew"


def test_a_training_set_that_becomes_stale_asks_for_a_batch_once(automation: Automation) -> None:
    automation.aged(TRAINING_ROWS, FreshnessState.WARN)
    assert automation.asks_for() == set()
    automation.aged(TRAINING_ROWS, FreshnessState.FAIL)
    assert automation.asks_for() == set(CHAIN)
    assert automation.asks_for() == set()


def test_the_blocking_checks_run_with_what_they_block(automation: Automation) -> None:
    graph = automation.definitions.resolve_asset_graph()
    own = {
        key.name
        for key in graph.asset_check_keys
        if graph.get(key).blocking and not graph.get_execution_set_asset_and_check_keys(key) & CHAIN
    }
    assert own >= {"nothing_vanished", "has_rows", "serves_whole_version"}

    automation.judged(LABELS, WAITING, passed=False)
    assert automation.asks_for() == set(CHAIN)
    assert own <= automation.checks

    automation.made(*CHAIN)
    assert automation.asks_for() == set()
    automation.made(STAGING)
    automation.asks_for()
    assert automation.checks == {"serves_whole_version"}


def test_of_two_reasons_at_a_time_one_batch_comes(automation: Automation) -> None:
    automation.judged(LABELS, WAITING, passed=False)
    automation.judged(STREAM, DRIFT, passed=False)
    assert automation.asks_for() == set(CHAIN)
    assert automation.asks_for() == set()


def test_other_checks_of_the_stream_ask_for_nothing(automation: Automation) -> None:
    automation.judged(STREAM, "same_features", passed=False)
    assert automation.asks_for() == set()


def test_new_promoted_data_are_learned_from(automation: Automation) -> None:
    automation.made(SERVING)
    assert automation.asks_for() == {TRAINING_ROWS, CANDIDATE, SHADOW, CHAMPION}


def test_a_new_source_goes_all_the_way(automation: Automation) -> None:
    automation.made(RAW)
    assert automation.asks_for() == set(CHAIN) - {LABELS}


def test_what_failed_its_blocking_checks_is_followed_by_nobody(automation: Automation) -> None:
    automation.made(STAGING)
    automation.judged(STAGING, "has_rows", passed=False, blocking=True)
    assert automation.asks_for() == set()


def test_a_platform_that_has_run_nothing_is_left_to_a_person() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(instance)
        automation.made(STREAM)
        assert automation.asks_for() == set()
        automation.judged(LABELS, WAITING, passed=False)
        automation.judged(STREAM, DRIFT, passed=False)
        assert automation.asks_for() == set()
