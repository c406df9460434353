"""The only module that drives Great Expectations: one suite over one table, pushed down as SQL.

Importing it takes seconds; `validate.py` imports it when it is needed. Nothing is stored: the
context is ephemeral, analytics are off, and no connection but the warehouse's is opened.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from sqlalchemy.engine import URL

from diabetes_platform.contract.tables import RECORD_ID
from diabetes_platform.quality.custom_expectations import SAMPLE_SIZE
from diabetes_platform.quality.report import ExpectationOutcome, Observed
from diabetes_platform.quality.specification import ExpectationSpec, Kwargs

SUITE_NAME = "staging_patients"

COUNTS: dict[str, Any] = {
    "result_format": "SUMMARY",
    "include_unexpected_rows": False,
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
    # LIMIT 0: PostgreSQL then answers the queries for samples without a scan.
    "partial_unexpected_count": 0,
}
SAMPLES = {
    **COUNTS,
    "partial_unexpected_count": SAMPLE_SIZE,
    "unexpected_index_column_names": [RECORD_ID.name],
}
"""Record ids and counts, never a value: what a result holds reaches the Data Docs."""

Bound = tuple[ExpectationSpec, Kwargs]


def run_suite(
    url: URL, schema: str, table: str, bound: Iterable[Bound]
) -> ExpectationSuiteValidationResult:
    """Validate `schema.table` (a table or a view); counts first, samples of what failed after."""
    configurations = [_configuration(spec, kwargs) for spec, kwargs in bound]
    with _whole_table(url, schema, table) as batch:
        result = batch.validate(_suite(configurations), result_format=COUNTS)
        failed = {_name(each) for each in result.results if _has_offenders(each)}
        if failed:
            again = [each for each in configurations if each.meta["name"] in failed]
            sampled = batch.validate(_suite(again), result_format=SAMPLES)
            by_name = {_name(each): each for each in sampled.results}
            result.results = [by_name.get(_name(each), each) for each in result.results]
    return result


def outcomes_by_name(
    specs: Mapping[str, ExpectationSpec], result: ExpectationSuiteValidationResult
) -> dict[str, ExpectationOutcome]:
    """Return what the run found for each of `specs` that it evaluated."""
    return {_name(each): _outcome(specs[_name(each)], each) for each in result.results}


@contextmanager
def _whole_table(url: URL, schema: str, table: str) -> Iterator[Batch]:
    config = DataContextConfig(
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    source = context.data_sources.add_postgres(
        "warehouse",
        connection_string=url.render_as_string(hide_password=False),
        create_temp_table=False,
    )
    try:
        asset = source.add_table_asset(table, table_name=table, schema_name=schema)
        yield asset.add_batch_definition_whole_table("whole table").get_batch()
    finally:
        source.get_engine().dispose()


def _configuration(spec: ExpectationSpec, kwargs: Kwargs) -> ExpectationConfiguration:
    return ExpectationConfiguration(
        type=spec.type,
        kwargs=dict(kwargs),
        meta={"name": spec.name},
        description=None,
        severity="critical" if spec.severity == "error" else "warning",
    )


def _suite(configurations: Iterable[ExpectationConfiguration]) -> gx.ExpectationSuite:
    return gx.ExpectationSuite(
        name=SUITE_NAME, expectations=[each.to_domain_obj() for each in configurations]
    )


def _name(result: ExpectationValidationResult) -> str:
    return str(result.expectation_config.meta["name"])


def _has_offenders(result: ExpectationValidationResult) -> bool:
    return not result.success and bool(result.result.get("unexpected_count"))


def _outcome(spec: ExpectationSpec, result: ExpectationValidationResult) -> ExpectationOutcome:
    found = result.result
    outcome = ExpectationOutcome(
        spec.name,
        passed=bool(result.success),
        severity=spec.severity,
        observed=_observed(found),
        unexpected_count=found.get("unexpected_count"),
        element_count=found.get("element_count"),
        record_ids=_record_ids(found),
    )
    error = first_error(result.exception_info)
    return outcome if error is None else replace(outcome, passed=False, error=error)


def first_error(exception_info: Mapping[str, Any] | None) -> str | None:
    """Return the first line of what an expectation raised: flat, or by metric; None: nothing."""
    if not exception_info:
        return None
    raised = [exception_info] if "raised_exception" in exception_info else exception_info.values()
    for each in raised:
        if each["raised_exception"]:
            return str(each["exception_message"]).strip().partition("\n")[0]
    return None


def _observed(found: Mapping[str, Any]) -> Observed:
    value = found.get("observed_value", found.get("unexpected_count"))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return float(value)


def _record_ids(found: Mapping[str, Any]) -> tuple[str, ...]:
    listed = found.get("partial_unexpected_index_list") or []
    ids = (str(record_id) for each in listed for record_id in each[RECORD_ID.name])
    return tuple(ids)[:SAMPLE_SIZE]
