"""The check of the stream's balance where no job can be asked: nothing is said, and no pass."""

from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.monitoring.balance import every_message_accounted_for
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.settings import PlatformSettings


def result(settings: PlatformSettings) -> dg.AssetCheckEvaluation:
    run = dg.materialize(
        [every_message_accounted_for],
        selection=dg.AssetSelection.all_asset_checks(),
        resources={"settings": dg.ResourceDefinition(lambda _: settings)},
    )
    (found,) = run.get_asset_check_evaluations()
    return found


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "PLATFORM_FLINK_URL: given nothing"),
        (f"http://{HOST}:{free_port()}", "The balance is not known: Flink's JobManager"),
    ],
    ids=["no job was named", "nothing answers"],
)
def test_a_job_that_cannot_be_asked_is_no_pass(tmp_path: Path, url: str | None, said: str) -> None:
    found = result(PlatformSettings(home=tmp_path, flink_url=url))
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (found.description or "").startswith(said)
    assert found.metadata["judged"].value is False
