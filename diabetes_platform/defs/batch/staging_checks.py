"""Checks of `staging/patients`: row reconciliation, and one check for each expectation."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg

from diabetes_platform.cleaning.reconciliation import RowReconciliation
from diabetes_platform.contract.tables import LABELLED_PATIENTS, QUARANTINE_PATIENTS, RAW_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import with_asset
from diabetes_platform.orchestration.batch_state import BatchReference, current_batch
from diabetes_platform.orchestration.describe import (
    CLEANED,
    LABELS,
    QUARANTINE,
    RAW,
    STAGING,
    STAGING_POOL,
)
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.quality.previous_batch import read_previous
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.quality.validation_report import (
    ExpectationOutcome,
    ValidationReport,
    failed_report,
    first_line,
)
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.staging import StagedBatch, count_staged, newest, record_validation


@dg.asset_check(
    asset=STAGING,
    additional_deps=[RAW, LABELS, CLEANED, QUARANTINE],
    name="nothing_vanished",
    blocking=True,
    pool=STAGING_POOL,
    automation_condition=with_asset(STAGING),
    description="raw + labelled = staging + quarantine, for the current batch.",
)
def nothing_vanished(
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Count the batch's rows in every store."""
    batch = current_batch(lake)
    reconciliation = RowReconciliation(
        raw=lake.count(RAW_PATIENTS, {"content_hash": batch.raw_hash}),
        accepted=count_staged(warehouse.url, batch.batch_id),
        rejected=lake.count(QUARANTINE_PATIENTS, {"batch_id": batch.batch_id}),
        labelled=_labelled(lake, batch),
    )
    return dg.AssetCheckResult(
        passed=reconciliation.balanced,
        description=str(reconciliation),
        metadata={
            "raw": reconciliation.raw,
            "labelled": reconciliation.labelled,
            "staged": reconciliation.accepted,
            "quarantined": reconciliation.rejected,
            "missing": reconciliation.missing,
        },
    )


def _labelled(lake: Lake, batch: BatchReference) -> int:
    if batch.labels_version is None:
        return 0
    return lake.count(LABELLED_PATIENTS, {}, batch.labels_version)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            name=spec.name,
            asset=STAGING,
            blocking=spec.severity == "error",
            description=spec.description,
            automation_condition=with_asset(STAGING),
        )
        for spec in EXPECTATIONS
    ],
    name="staging_expectations",
    pool=STAGING_POOL,
)
def staging_expectations(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[PlatformSettings],
    warehouse: dg.ResourceParam[Warehouse],
) -> Iterator[dg.AssetCheckResult]:
    """Validate the staging table; every expectation gets a result, even if validation fails."""
    batch, report = _validate(context.run.run_id, settings, warehouse)
    for outcome in report.outcomes:
        yield check_result(outcome, f"{settings.api}/data-docs/", report.docs_error)
    # After the results: if this fails, they are kept and promotion rejects the batch.
    if batch is not None:
        failed = tuple(outcome.name for outcome in report.outcomes if outcome.blocks)
        record_validation(warehouse.url, batch, run_name=report.run_name, failed=failed)


def _validate(
    run_name: str, settings: PlatformSettings, warehouse: Warehouse
) -> tuple[StagedBatch | None, ValidationReport]:
    """Validate the staged batch; an unreachable database fails every expectation."""
    try:
        batch = newest(warehouse.url)
        previous = read_previous(warehouse.url)
    except psycopg.Error as error:
        text = first_line(f"{type(error).__name__}: {error}")
        validated_at = datetime.now(UTC)
        return None, failed_report(EXPECTATIONS, text, run_name=run_name, validated_at=validated_at)
    report = validate_staging(warehouse.url, settings.data_docs, run_name, previous=previous)
    return batch, report


def check_result(
    outcome: ExpectationOutcome, docs_url: str, docs_error: str | None = None
) -> dg.AssetCheckResult:
    """Return the check result of an outcome: counts and record ids, no patient's value."""
    values = {
        "observed": outcome.observed,
        "unexpected_count": outcome.unexpected_count,
        "element_count": outcome.element_count,
        "record_ids": ", ".join(outcome.record_ids) or None,
        "note": outcome.note,
        "error": outcome.error,
        "data_docs_error": docs_error,
    }
    metadata: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
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
