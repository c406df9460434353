"""`staging/patients`: the accepted rows of the batch in PostgreSQL, and its checks.

The checks are the row reconciliation and one check for each expectation.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg
import psycopg

from diabetes_platform.cleaning.reconciliation import ACCEPTED, RowReconciliation
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STAGING_PATIENTS,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.orchestration.automation import FOLLOW, with_asset
from diabetes_platform.orchestration.batch_state import (
    CleanedBatch,
    cleaned_batch,
    current_batch,
    input_version,
    rejected_rows,
    rejection_level,
)
from diabetes_platform.orchestration.check_results import FEW_ROWS_REJECTED, without_none
from diabetes_platform.orchestration.describe import (
    CLEANED,
    LABELS,
    QUARANTINE,
    RAW,
    STAGING,
    STAGING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Warehouse
from diabetes_platform.orchestration.retries import non_retryable_errors, retried
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.quality.previous_batch import (
    read_previous,
    read_reference,
    with_reference,
)
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.quality.validation_report import (
    ExpectationOutcome,
    ValidationReport,
    failed_report,
    first_line,
)
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.staging import (
    StagedBatch,
    count_staged,
    newest,
    read_acceptances,
    record_validation,
    stage,
)


@dg.asset(
    **asset_options(STAGING, {"postgres"}, STAGING_POOL),
    automation_condition=FOLLOW,
    deps=[CLEANED, QUARANTINE],
    description="The accepted rows of the batch in PostgreSQL, streamed as Arrow into COPY.",
    metadata=table_metadata(STAGING_PATIENTS, {CLEANED: CLEANED_PATIENTS}),
)
@retried
def staging_patients(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.MaterializeResult:
    """Load the accepted rows of the cleaned batch, unless staging already holds them."""
    cleaned = cleaned_batch(lake)
    staged = newest(warehouse.url)
    unchanged = staged is not None and _is_load_of(staged, cleaned)
    if staged is None or not unchanged:
        columns = STAGING_PATIENTS.column_names
        with non_retryable_errors():
            staged = stage(
                warehouse.url,
                lake.stream(
                    CLEANED_PATIENTS, columns, {"verdict": ACCEPTED}, cleaned.readable_version
                ),
                batch_id=cleaned.batch_id,
                delta_version=cleaned.version,
                expected_rows=cleaned.accepted,
                source_version=cleaned.source_version,
            )
    else:
        context.log.info("Batch %s is in staging: not loaded again", cleaned.batch_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(input_version("staging", cleaned.input_version)),
        metadata={
            "dagster/row_count": staged.rows,
            "batch_id": staged.batch_id,
            "load": staged.version,
            "delta_version": staged.delta_version,
            "processed": not unchanged,
        },
    )


def _is_load_of(staged: StagedBatch, cleaned: CleanedBatch) -> bool:
    """Whether staging was loaded from this version of the cleaned table.

    The times are compared because a lake that was deleted counts its versions from 0 again.
    """
    same = (staged.batch_id, staged.delta_version) == (cleaned.batch_id, cleaned.version)
    return same and staged.staged_at >= cleaned.commit.written_at


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
    version = batch.labels_version
    reconciliation = RowReconciliation(
        raw=lake.count(RAW_PATIENTS, {"content_hash": batch.raw_hash}),
        accepted=count_staged(warehouse.url, batch.batch_id),
        rejected=lake.count(QUARANTINE_PATIENTS, {"batch_id": batch.batch_id}),
        labelled=0 if version is None else lake.count(LABELLED_PATIENTS, {}, version),
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


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            name=spec.name,
            asset=STAGING,
            blocking=spec.may_block,
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
    config: Acceptance,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
) -> Iterator[dg.AssetCheckResult]:
    """Validate the staging table; every expectation gets a result, even if validation fails.

    The recorded validation includes `few_rows_rejected`, which a run of staging alone omits.
    """
    batch, accepted, report = _validate(context.run.run_id, settings, warehouse, config.reasons)
    page = f"{settings.api}/data-docs/{report.docs_link}" if report.docs_link else None
    for outcome in report.outcomes:
        yield check_result(outcome, page, report.docs_error)
    # After the results: if this fails, they are kept and promotion rejects the batch.
    if batch is not None:
        failed = [outcome.name for outcome in report.outcomes if outcome.blocks]
        needed = {o.name: o.accepted for o in report.outcomes if o.accepted is not None}
        rows = rejected_rows(lake, batch.delta_version)
        level = rejection_level(rows, settings)
        if level == "error" and FEW_ROWS_REJECTED in accepted:
            needed[FEW_ROWS_REJECTED] = accepted[FEW_ROWS_REJECTED]
        elif level == "error":
            context.log.error("%s failed: %s", FEW_ROWS_REJECTED, rows)
            failed.insert(0, FEW_ROWS_REJECTED)
        record_validation(
            warehouse.url, batch, run_name=report.run_name, failed=tuple(failed), accepted=needed
        )


def _validate(
    run_name: str,
    settings: PlatformSettings,
    warehouse: Warehouse,
    reasons: Mapping[str, str],
) -> tuple[StagedBatch | None, Mapping[str, str], ValidationReport]:
    """Validate the staged batch; an unreachable database fails every expectation.

    Without a promoted version, or without its statistics, the batch is compared with the
    contract's reference statistics. The second value has the acceptances: `reasons`, and those of
    earlier runs of the same source.
    """
    try:
        batch = newest(warehouse.url)
        source_version = None if batch is None else batch.source_version
        accepted = {**read_acceptances(warehouse.url, source_version), **reasons}
        previous = with_reference(read_previous(warehouse.url), read_reference())
    except psycopg.Error as error:
        text = first_line(f"{type(error).__name__}: {error}")
        validated_at = datetime.now(UTC)
        report = failed_report(text, run_name=run_name, validated_at=validated_at)
        return None, reasons, report
    report = validate_staging(
        warehouse.url,
        settings.data_docs,
        run_name,
        previous=previous,
        accepted=accepted,
        s3=settings.s3,
    )
    return batch, accepted, report


def check_result(
    outcome: ExpectationOutcome, page: str | None, docs_error: str | None
) -> dg.AssetCheckResult:
    """Return the check result of an outcome: counts and record ids, no patient's value."""
    severities = dg.AssetCheckSeverity
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key=STAGING,
        passed=outcome.passed,
        severity=severities.ERROR if outcome.severity == "error" else severities.WARN,
        metadata=without_none(
            observed=outcome.observed,
            allowed=outcome.allowed,
            unexpected_count=outcome.unexpected_count,
            element_count=outcome.element_count,
            record_ids=", ".join(outcome.record_ids) or None,
            note=outcome.note,
            accepted_by=outcome.accepted,
            error=outcome.error,
            data_docs_error=docs_error,
            data_docs=dg.MetadataValue.url(f"{page}#{outcome.name}") if page else None,
        ),
    )
