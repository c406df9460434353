"""The checks of training-serving skew on a platform with a champion."""

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


def evaluate(
    check: dg.AssetChecksDefinition, settings: PlatformSettings
) -> dg.AssetCheckEvaluation:
    run = dg.materialize(
        [check],
        selection=dg.AssetSelection.all_asset_checks(),
        resources=build_resources(lambda: settings),
    )
    (evaluation,) = run.get_asset_check_evaluations()
    return evaluation


def test_spark_and_the_contract_read_the_same_values(live: Live) -> None:
    live.stream([None] * FEW)
    evaluation = evaluate(same_features, live.platform.settings)
    assert evaluation.passed
    assert evaluation.metadata["patients"].value == FEW
    assert evaluation.description == (
        f"{FEW} patients of the stream through Spark and the contract: no value differs."
    )


def test_a_value_that_the_rules_reject_is_counted_by_field(live: Live) -> None:
    live.stream([None] * FEW, age=[4711.0, *[30.0] * (FEW - 1)])
    evaluation = evaluate(same_features, live.platform.settings)
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "| `age` | 1 |" in str(evaluation.metadata["differing_by_field"].value)
    assert evaluation.metadata["refused_by_contract"].value == 1
    assert "4711" not in str(evaluation)


def test_stored_predictions_equal_those_of_the_rows_in_the_lake(live: Live) -> None:
    live.stream([None] * FEW)
    live.predict(live.probabilities[:FEW])
    evaluation = evaluate(same_predictions, live.platform.settings)
    assert evaluation.passed
    assert evaluation.metadata["answers_compared"].value == FEW
    assert evaluation.metadata["feature_order"].value == ", ".join(live.model.bundle.features)


def test_predictions_from_other_features_fail(live: Live) -> None:
    live.stream([None] * FEW)
    swapped = live.probabilities[:FEW].copy()
    swapped[:3] = np.clip(swapped[:3] + 1e-6, 0, 1)
    live.predict(swapped)
    evaluation = evaluate(same_predictions, live.platform.settings)
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert evaluation.metadata["differing"].value == 3


def test_passes_without_patients_as_inconclusive(serving: Platform) -> None:
    for check in (same_features, same_predictions):
        evaluation = evaluate(check, serving.settings)
        assert evaluation.passed
        assert evaluation.metadata["judged"].value is False


def test_warns_without_a_model(platform: Platform) -> None:
    evaluation = evaluate(same_predictions, platform.settings)
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_the_job_runs_every_check_of_the_stream(live: Live) -> None:
    live.stream([None] * FEW)
    settings, instance = live.platform.settings, live.platform.instance
    job = build_definitions(lambda: settings).resolve_job_def("monitoring")
    run = job.execute_in_process(instance=instance)
    passed = {
        evaluation.check_name: evaluation.passed for evaluation in run.get_asset_check_evaluations()
    }
    assert len(passed) == 17
    assert passed["same_features"]
    # No Flink runs here.
    assert not passed["every_message_accounted_for"]
