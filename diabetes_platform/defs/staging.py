"""`staging/patients`, and one asset check for each expectation on it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg

from diabetes_platform.contract.tables import CLEANED_PATIENTS, STAGING_PATIENTS
from diabetes_platform.defs.describe import (
    CLEANED,
    QUARANTINE,
    STAGING,
    asset_options,
    table_metadata,
)
from diabetes_platform.defs.memory import INPUT_VERSION, input_version, recall
from diabetes_platform.defs.resources import Warehouse
from diabetes_platform.lake.tables import Lake
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.quality.previous import read_previous
from diabetes_platform.quality.report import ExpectationOutcome, ValidationReport
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.staging import StagedBatch, newest, record_validation, stage

CODE_VERSION = "1"


@dg.asset(
    **asset_options(STAGING, {"postgres"}, CODE_VERSION),
    deps=[CLEANED, QUARANTINE],
    description="The accepted rows of the batch in PostgreSQL, streamed as Arrow into COPY.",
    metadata=table_metadata(STAGING_PATIENTS, {CLEANED: CLEANED_PATIENTS}),
)
def staging_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.MaterializeResult:
    """Load the accepted rows, unless this very batch is what staging holds."""
    batch_id = str(recall(context, CLEANED, "batch_id"))
    delta_version = int(recall(context, CLEANED, "delta_version"))
    version = input_version("staging", CODE_VERSION, recall(context, CLEANED, INPUT_VERSION))
    staged = newest(warehouse.url)
    unchanged = staged is not None and (staged.batch_id, staged.delta_version) == (
        batch_id,
        delta_version,
    )
    if staged is None or not unchanged:
        rows = lake.stream(CLEANED_PATIENTS, STAGING_PATIENTS.column_names, {"verdict": "accepted"})
        staged = stage(warehouse.url, rows, batch_id=batch_id, delta_version=delta_version)
    else:
        context.log.info("Batch %s is in staging already: not loaded again", batch_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "dagster/row_count": staged.rows,
            "batch_id": staged.batch_id,
            "load": staged.version,
            "delta_version": staged.delta_version,
            INPUT_VERSION: version,
            "processed": not unchanged,
        },
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            name=spec.name,
            asset=STAGING,
            blocking=spec.severity == "error",
            description=spec.description,
        )
        for spec in EXPECTATIONS
    ],
    name="staging_expectations",
)
def staging_expectations(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[PlatformSettings],
    warehouse: dg.ResourceParam[Warehouse],
) -> Iterator[dg.AssetCheckResult]:
    """Validate the staging table itself; every expectation has a result, whatever fails."""
    report = _validate(context.run.run_id, settings, warehouse)
    for outcome in report.outcomes:
        yield check_result(outcome, f"{settings.api}/data-docs/")


def _validate(run_id: str, settings: PlatformSettings, warehouse: Warehouse) -> ValidationReport:
    """Validate what is in staging, and keep the verdict where the database still answers."""
    run_name = run_id
    try:
        batch = newest(warehouse.url)
        previous = read_previous(warehouse.url)
    except psycopg.Error:
        # The database is gone: validating fails for the same reason, and says so for every check.
        batch, previous = None, None
    report = validate_staging(warehouse.url, settings.data_docs, run_name, previous=previous)
    if batch is not None:
        _keep_verdict(warehouse.url, batch, report)
    return report


def _keep_verdict(url: str, batch: StagedBatch, report: ValidationReport) -> None:
    failed = tuple(outcome.name for outcome in report.outcomes if outcome.blocks)
    record_validation(url, batch, run_name=report.run_name, failed=failed)


def check_result(outcome: ExpectationOutcome, docs_url: str) -> dg.AssetCheckResult:
    """Render an outcome for Dagster: counts and record ids, never a patient's value."""
    found = {
        "observed": outcome.observed,
        "unexpected_count": outcome.unexpected_count,
        "element_count": outcome.element_count,
        "record_ids": ", ".join(outcome.record_ids) or None,
        "note": outcome.note,
        "error": outcome.error,
    }
    metadata: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    if outcome.docs_link is not None:
        metadata["data_docs"] = dg.MetadataValue.url(docs_url + outcome.docs_link)
    severity = (
        dg.AssetCheckSeverity.ERROR if outcome.severity == "error" else dg.AssetCheckSeverity.WARN
    )
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key=STAGING,
        passed=outcome.passed,
        severity=severity,
        metadata=metadata,
    )
