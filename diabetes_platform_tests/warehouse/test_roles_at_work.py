"""The platform's own code run as the role that it has, on the real server."""

from pathlib import Path

import dagster as dg
import psycopg
import pytest

from diabetes_platform.quality.previous_batch import read_previous
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.warehouse.promotion import (
    PromotionError,
    promote,
    rollback,
    serving_state,
)
from diabetes_platform.warehouse.staging import count_staged, newest, record_validation, stage
from diabetes_platform.warehouse.training_rows import read_training_rows
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.staged_patients import staged_patient
from diabetes_platform_tests.stored_job import MESSAGE, stored
from diabetes_platform_tests.warehouse.conftest import reader as stream

pytestmark = pytest.mark.integration


def test_the_pipeline_stages_validates_promotes_and_rolls_back(
    provisioned: ProvisionedServer, tmp_path: Path
) -> None:
    url = provisioned.url("pipeline")
    for batch_id in ("a" * 12, "b" * 12):
        patients = [staged_patient(batch_id, line) for line in range(2, 42)]
        batch = stage(
            url, stream(patients), batch_id=batch_id, delta_version=1, expected_rows=len(patients)
        )
        assert newest(url) == batch
        assert count_staged(url, batch_id) == len(patients)
        report = validate_staging(url, tmp_path, f"run-{batch_id}", previous=read_previous(url))
        assert [outcome.error for outcome in report.outcomes if outcome.error] == []
        record_validation(url, batch, run_name=report.run_name, failed=())
        assert promote(url, batch).changed
    assert rollback(url).batch_id == "a" * 12
    with psycopg.connect(url) as connection:
        assert serving_state(connection).batch_id == "a" * 12
        audit = connection.execute("SELECT DISTINCT promoted_by FROM serving.promotions")
        assert audit.fetchall() == [("pipeline",)]
        # Without MAINTAIN the server would only warn, and plan by the batch before.
        planned = connection.execute(
            "SELECT reltuples FROM pg_class WHERE oid = 'staging.patients'::regclass"
        ).fetchone()
        assert planned == (40.0,)
    assert read_training_rows(url).num_rows == 40


def test_a_refusal_of_the_promotion_is_the_same_for_the_pipeline(
    provisioned: ProvisionedServer,
) -> None:
    url = provisioned.url("pipeline")
    patients = [staged_patient("c" * 12, 2) | {"bmi": 700.0}]
    batch = stage(url, stream(patients), batch_id="c" * 12, delta_version=1, expected_rows=1)
    record_validation(url, batch, run_name="run-c", failed=())
    with pytest.raises(PromotionError, match="breaks bmi_allowed"):
        promote(url, batch)


def test_dagster_stores_runs_events_and_schedules_as_its_role(
    provisioned: ProvisionedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", provisioned.url("dagster"))
    (tmp_path / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: {env: DAGSTER_POSTGRES_URL}}}\n"
        "telemetry: {enabled: false}\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        result = stored.execute_in_process(instance=instance)
        assert instance.get_run_by_id(result.run_id) is not None
        assert instance.all_instigator_state() == []
        assert any(MESSAGE in log.user_message for log in instance.all_logs(result.run_id))
    with psycopg.connect(provisioned.url("dagster")) as connection:
        events = connection.execute("SELECT count(*) > 5 FROM event_logs").fetchone()
    assert events == (True,)
