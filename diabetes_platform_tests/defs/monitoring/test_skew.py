"""The checks of skew on a platform with a champion: what agrees, differs, or is not there."""

import dagster as dg
import numpy as np
import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.defs.monitoring.skew import same_features, same_predictions
from diabetes_platform.orchestration.resources import build_resources
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.live_patients import Live, live_of

pytestmark = pytest.mark.integration
FEW = 40


@pytest.fixture
def live(serving: Platform) -> Live:
    return live_of(serving)


def result(check: dg.AssetChecksDefinition, settings: PlatformSettings) -> dg.AssetCheckEvaluation:
    run = dg.materialize(
        [check],
        selection=dg.AssetSelection.all_asset_checks(),
        resources=build_resources(lambda: settings),
    )
    (found,) = run.get_asset_check_evaluations()
    return found


def test_what_the_stream_let_through_spark_and_the_contract_read_alike(live: Live) -> None:
    live.stream([None] * FEW)
    found = result(same_features, live.platform.settings)
    assert found.passed
    assert found.metadata["patients"].value == FEW
    assert found.description == (
        f"{FEW} patients of the stream through Spark and the contract: no value differs."
    )


def test_a_value_that_the_rules_of_a_batch_refuse_is_told_by_its_field(live: Live) -> None:
    live.stream([None] * FEW, age=[4711.0, *[30.0] * (FEW - 1)])
    found = result(same_features, live.platform.settings)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "| `age` | 1 |" in str(found.metadata["differing_by_field"].value)
    assert found.metadata["refused_by_contract"].value == 1
    assert "4711" not in str(found)


def test_stored_answers_are_those_of_the_lakes_rows(live: Live) -> None:
    live.stream([None] * FEW)
    live.predict(live.probabilities[:FEW])
    found = result(same_predictions, live.platform.settings)
    assert found.passed
    assert found.metadata["answers_compared"].value == FEW
    assert found.metadata["feature_order"].value == ", ".join(live.model.bundle.features)


def test_answers_made_from_other_features_are_told(live: Live) -> None:
    live.stream([None] * FEW)
    swapped = live.probabilities[:FEW].copy()
    swapped[:3] = np.clip(swapped[:3] + 1e-6, 0, 1)
    live.predict(swapped)
    found = result(same_predictions, live.platform.settings)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.metadata["differing"].value == 3


def test_without_patients_there_is_nothing_to_compare(serving: Platform) -> None:
    for check in (same_features, same_predictions):
        found = result(check, serving.settings)
        assert found.passed
        assert found.metadata["judged"].value is False


def test_without_a_model_nothing_is_said(platform: Platform) -> None:
    found = result(same_predictions, platform.settings)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_the_job_runs_every_check_of_the_stream(live: Live) -> None:
    live.stream([None] * FEW)
    settings, instance = live.platform.settings, live.platform.instance
    job = build_definitions(lambda: settings).resolve_job_def("monitoring")
    run = job.execute_in_process(instance=instance)
    found = {each.check_name: each.passed for each in run.get_asset_check_evaluations()}
    assert len(found) == 15
    assert found["same_features"]
    # No Flink runs here.
    assert not found["every_message_accounted_for"]
