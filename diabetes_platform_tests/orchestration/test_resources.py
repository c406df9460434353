"""The Spark session of a step: of dagster-pyspark, in UTC, stopped at the end."""

from pathlib import Path

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.session import sail_url, spark_session
from diabetes_platform.defs.batch.cleaned import cleaned_patients, statistics_patients
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import ingest
from diabetes_platform.orchestration.resources import Spark, build_resources
from diabetes_platform.settings import PIMA_CSV, PlatformSettings

REFUSED = "sc://127.0.0.1:1"
"""The URL of a server that does not exist."""


@pytest.mark.parametrize("on_a_server", [False, True])
def test_a_session_is_in_utc_and_stopped_at_the_end(*, on_a_server: bool) -> None:
    with Spark(sail_url() if on_a_server else None).session(3) as session:
        assert session.conf.get("spark.sql.session.timeZone") == "UTC"
        assert session.range(3).count() == 3
    assert session.is_stopped
    assert SparkSession.getActiveSession() is None


@pytest.mark.parametrize(
    ("rows", "remote"), [(0, None), (49_999, None), (50_000, REFUSED), (None, REFUSED)]
)
def test_small_batches_are_cleaned_in_the_process_beside_a_server(
    rows: int | None, remote: str | None
) -> None:
    assert Spark(REFUSED, 50_000).remote_for(rows) == remote
    assert Spark(REFUSED, 0).remote_for(rows) == REFUSED
    assert Spark(None, 50_000).remote_for(rows) is None


def test_each_step_of_a_process_has_a_session_of_its_own() -> None:
    spark = Spark(None)
    with spark.session(3) as first:
        pass
    with spark.session(3) as second:
        assert second.range(3).count() == 3
    assert first.session_id != second.session_id


def test_does_not_take_over_the_session_of_other_code() -> None:
    with spark_session() as active, pytest.raises(RuntimeError, match="active Spark session"):
        Spark(None).session(3).__enter__()
    assert active.is_stopped


def materialize(settings: PlatformSettings, name: str) -> set[object]:
    """Materialize the assets that use Spark, and return the values of their metadata `name`."""
    result = dg.materialize(
        [statistics_patients, cleaned_patients], resources=build_resources(lambda: settings)
    )
    events = result.get_asset_materialization_events()
    return {event.materialization.metadata[name].value for event in events}


def test_a_step_with_unchanged_input_starts_no_session(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path).model_copy(update={"spark_remote": None})
    ingest(Lake(settings.lake, settings.s3), str(PIMA_CSV))

    first = materialize(settings, "processed")
    refused = settings.model_copy(update={"spark_remote": REFUSED, "spark_min_rows": 0})
    second = materialize(refused, "processed")

    assert first == {True}
    assert second == {False}


def test_a_small_batch_needs_no_server_and_says_so(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path).model_copy(update={"spark_remote": REFUSED})
    ingest(Lake(settings.lake, settings.s3), str(PIMA_CSV))

    assert materialize(settings, "engine") == {
        "Sail in this process: fewer than 50,000 rows (PLATFORM_SPARK_MIN_ROWS)"
    }
