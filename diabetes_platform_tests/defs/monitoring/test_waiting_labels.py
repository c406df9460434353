"""The check that requests a batch when enough outcomes were confirmed."""

from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.monitoring.waiting_labels import few_labels_wait
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.monitoring.test_skew import evaluate
from diabetes_platform_tests.intakes import changed, stream


def evaluate_labels(settings: PlatformSettings) -> dg.AssetCheckEvaluation:
    return evaluate(few_labels_wait, settings)


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    return PlatformSettings(home=tmp_path, retrain_labels=3)


def test_passes_without_a_stream(settings: PlatformSettings) -> None:
    assert evaluate_labels(settings).passed


def test_warns_at_the_configured_number_of_labels(settings: PlatformSettings) -> None:
    lake = Lake(settings.lake)
    stream(lake, *(changed(n, n, outcome=1) for n in (1, 2)), changed(9, 9))
    assert evaluate_labels(settings).passed
    stream(lake, changed(3, 30, outcome=0))

    check = evaluate_labels(settings)

    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == (
        "3 labels are new, changed or deleted and no batch has read them yet; a batch is requested "
        "at 3."
    )
    assert (check.metadata["waiting"].value, check.metadata["enough"].value) == (3, 3)
    update_labels(lake)
    assert evaluate_labels(settings).passed
