"""The check that asks for a batch when enough outcomes were confirmed."""

from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.monitoring.waiting_labels import few_labels_wait
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.monitoring.test_skew import result
from diabetes_platform_tests.intakes import changed, stream


def found(settings: PlatformSettings) -> dg.AssetCheckEvaluation:
    return result(few_labels_wait, settings)


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    return PlatformSettings(home=tmp_path, retrain_labels=3)


def test_a_platform_without_a_stream_waits_for_nothing(settings: PlatformSettings) -> None:
    assert found(settings).passed


def test_as_many_as_asked_for_are_a_warning(settings: PlatformSettings) -> None:
    lake = Lake(settings.lake)
    stream(lake, *(changed(n, n, outcome=1) for n in (1, 2)), changed(9, 9))
    assert found(settings).passed
    stream(lake, changed(3, 30, outcome=0))

    check = found(settings)

    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == (
        "3 labels are new, changed or gone and no batch has asked for them yet; a batch is asked "
        "for at 3."
    )
    assert (check.metadata["waiting"].value, check.metadata["enough"].value) == (3, 3)
    update_labels(lake)
    assert found(settings).passed
