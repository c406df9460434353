"""The validation of the staging table, which always returns one outcome per expectation.

Great Expectations takes seconds to import. It is imported inside the call, so that Dagster's code
location can import this module.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url

from diabetes_platform.contract.s3 import DEFAULT_S3, S3, StorageError
from diabetes_platform.contract.tables import STAGING_PATIENTS
from diabetes_platform.quality.expectations import EXPECTATIONS, PreviousBatch, bound_kwargs
from diabetes_platform.quality.previous_batch import count_values
from diabetes_platform.quality.validation_report import (
    NOTHING_TO_COMPARE,
    ValidationReport,
    accept,
    failed_report,
    first_line,
    not_applicable,
    not_evaluated,
    with_severity,
    without_consequences,
)

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

LOGGER = logging.getLogger(__name__)
CONNECT_TIMEOUT_SECONDS = "10"
_NO_RESULT = "Great Expectations returned no result for it."


def validate_staging(
    warehouse_url: str,
    docs: str | Path,
    run_name: str,
    *,
    previous: PreviousBatch | None = None,
    accepted: Mapping[str, str] | None = None,
    table: str = STAGING_PATIENTS.name,
    s3: S3 = DEFAULT_S3,
) -> ValidationReport:
    """Validate `table` (schema.name, a table or a view) and write its page to `docs`: a
    directory, or an S3 URL.

    `accepted` maps the names of expectations whose failure does not stop the batch to a reason.

    Errors of the data, the database or Great Expectations are not raised: each expectation then has
    a failed outcome with the error. Data Docs that cannot be written change no outcome;
    `docs_error` has the reason.
    """
    validated_at = datetime.now(UTC)
    url = make_url(warehouse_url).set(drivername="postgresql+psycopg")
    try:
        report, result = _validate(url, run_name, validated_at, previous, accepted, table)
    except Exception as error:  # noqa: BLE001 — a blocking check must emit a result, whatever broke
        text = first_line(f"{type(error).__name__}: {error}", url.password)
        LOGGER.error("The validation %s failed: %s", run_name, text)  # noqa: TRY400 — a traceback may hold the URL
        return failed_report(text, run_name=run_name, validated_at=validated_at)
    try:
        from diabetes_platform.quality.data_docs import linked, write_docs

        write_docs(docs, linked(report), result, s3)
    except Exception as error:  # noqa: BLE001 — the outcomes stand without the page
        # An error of S3 names its URL.
        where = "" if isinstance(error, StorageError) else f"{docs}: "
        text = first_line(f"{where}{type(error).__name__}: {error}", url.password)
        LOGGER.error("No Data Docs for the validation %s: %s", run_name, text)  # noqa: TRY400 — no values in logs
        return replace(report, docs_error=text)
    return linked(report)


def _validate(
    url: URL,
    run_name: str,
    validated_at: datetime,
    previous: PreviousBatch | None,
    accepted: Mapping[str, str] | None,
    table: str,
) -> "tuple[ValidationReport, ExpectationSuiteValidationResult]":
    try:
        from diabetes_platform.quality import engine
    except SystemExit as error:
        # Spark's client, which Great Expectations imports, exits if the main module has no file.
        raise ImportError("Great Expectations ended its own import: run a file or -m") from error
    bound = [(spec, bound_kwargs(spec, previous)) for spec in EXPECTATIONS]
    schema, _, name = table.partition(".")
    result = engine.run_suite(
        url.update_query_dict({"connect_timeout": CONNECT_TIMEOUT_SECONDS}),
        schema,
        name,
        [(spec, kwargs) for spec, kwargs in bound if kwargs is not None],
    )
    evaluated = engine.outcomes_by_name({spec.name: spec for spec, _ in bound}, result)
    outcomes = (
        not_applicable(spec, NOTHING_TO_COMPARE)
        if kwargs is None
        else evaluated.get(spec.name) or not_evaluated(spec, _NO_RESULT)
        for spec, kwargs in bound
    )
    applicable = without_consequences(EXPECTATIONS, outcomes, previous)
    libpq_url = url.set(drivername="postgresql").render_as_string(hide_password=False)
    counts = count_values(libpq_url, table)
    severe = with_severity(EXPECTATIONS, applicable, previous, counts)
    return ValidationReport(run_name, validated_at, accept(severe, accepted or {})), result
