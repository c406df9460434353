"""The platform's batch path: the functions that the Dagster assets call, in their order.

Left out: Dagster itself and Great Expectations, which is recorded as passed.
"""

from pathlib import Path

from benchmarks.batch.steps import Steps
from diabetes_platform.cleaning.reconciliation import RowReconciliation
from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.cleaning.spark_jobs import clean_batch, fit_statistics, quarantine_batch
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STAGING_PATIENTS,
    STATISTICS_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import ingest
from diabetes_platform.warehouse.promotion import promote
from diabetes_platform.warehouse.staging import record_validation, stage


def run(source: Path, lake_root: Path, url: str, remote: str | None) -> Steps:
    """Bring `source` to `serving.patients`; `remote` is a Spark Connect URL, None is Sail."""
    steps = Steps()
    lake = Lake(str(lake_root))
    raw, statistics, cleaned, quarantine = map(
        lake.table, (RAW_PATIENTS, STATISTICS_PATIENTS, CLEANED_PATIENTS, QUARANTINE_PATIENTS)
    )
    with steps.timed("raw"):
        batch = ingest(lake, str(source))
    with steps.timed("statistics"), spark_session(remote) as spark:
        fit_statistics(spark, raw, batch.content_hash, statistics)
    with steps.timed("clean"), spark_session(remote) as spark:
        result = clean_batch(spark, raw, batch.content_hash, statistics, cleaned)
    with steps.timed("quarantine"):
        quarantined = quarantine_batch(cleaned, batch.batch_id, quarantine)
    _require_all_rows(lake, batch.content_hash, result.accepted, quarantined)
    with steps.timed("stage"):
        rows = lake.stream(CLEANED_PATIENTS, STAGING_PATIENTS.column_names, {"verdict": "accepted"})
        staged = stage(
            url,
            rows,
            batch_id=batch.batch_id,
            delta_version=result.delta_version,
            expected_rows=result.accepted,
        )
    with steps.timed("promote"):
        record_validation(url, staged, run_name="benchmark", failed=())
        promote(url, staged)
    return steps


def _require_all_rows(lake: Lake, content_hash: str, accepted: int, rejected: int) -> None:
    raw = lake.count(RAW_PATIENTS, {"content_hash": content_hash})
    reconciliation = RowReconciliation(raw, accepted, rejected)
    if not reconciliation.balanced:
        raise SystemExit(str(reconciliation))
