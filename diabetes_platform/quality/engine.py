"""The Great Expectations engine: one suite over one table, pushed down as SQL.

The import takes seconds, so `validate.py` imports it on demand. Nothing is stored: the context is
ephemeral, analytics are off, and the only connection is that of the warehouse.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, SupportsFloat

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity
from sqlalchemy.engine import URL

from diabetes_platform.contract.tables import RECORD_ID
from diabetes_platform.quality.custom_expectations import SAMPLE_SIZE
from diabetes_platform.quality.expectations import ExpectationSpec, Kwargs
from diabetes_platform.quality.validation_report import ExpectationOutcome, Observed, first_line

SUITE_NAME = "staging_patients"

COUNTS: dict[str, Any] = {
    "result_format": "SUMMARY",
    "include_unexpected_rows": False,
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
    # LIMIT 0: PostgreSQL answers the sample queries without a scan.
    "partial_unexpected_count": 0,
}
"""Counts but no values, because the Data Docs show the result."""

Bound = tuple[ExpectationSpec, Kwargs]


def run_suite(
    url: URL, schema: str, table: str, bound: Iterable[Bound], *, sample_size: int = SAMPLE_SIZE
) -> ExpectationSuiteValidationResult:
    """Validate `schema.table` (a table or a view); sample record ids of failed expectations.

    An outcome has at most `sample_size` record ids. Connection errors are raised; an error of a
    single expectation is part of the result.
    """
    bound = tuple(bound)
    with _whole_table(url, schema, table) as batch:
        result = batch.validate(_suite(bound), result_format=COUNTS)
        failed = {
            _name(res)
            for res in result.results
            if not res.success and res.result.get("unexpected_count")
        }
        if failed:
            samples = {
                **COUNTS,
                "unexpected_index_column_names": [RECORD_ID.name],
                "partial_unexpected_count": sample_size,
            }
            suite = _suite((spec, kwargs) for spec, kwargs in bound if spec.name in failed)
            sampled = batch.validate(suite, result_format=samples)
            by_name = {_name(res): res for res in sampled.results}
            result.results = [by_name.get(_name(res), res) for res in result.results]
    for res in result.results:
        res.exception_info = _one_line(res.exception_info, url.password)
        if "observed_value" in res.result:
            res.result["observed_value"] = _observed(res.result["observed_value"])
    return result


def outcomes_by_name(
    specs: Mapping[str, ExpectationSpec], result: ExpectationSuiteValidationResult
) -> dict[str, ExpectationOutcome]:
    """Return the outcomes of the `specs` that the run evaluated, by name."""
    return {_name(res): _outcome(specs[_name(res)], res) for res in result.results}


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
        connection_string=_within(url, schema).render_as_string(hide_password=False),
        create_temp_table=False,
    )
    try:
        asset = source.add_table_asset(table, table_name=table)
        yield asset.add_batch_definition_whole_table("whole table").get_batch()
    finally:
        source.get_engine().dispose()


def _within(url: URL, schema: str) -> URL:
    """Return `url` with `schema` as the search path, as assets with a schema are deprecated."""
    query = url.query.get("options", "")
    options = query if isinstance(query, str) else " ".join(query)
    return url.update_query_dict({"options": f"{options} -csearch_path={schema}".strip()})


def _suite(bound: Iterable[Bound]) -> gx.ExpectationSuite:
    critical = FailureSeverity.CRITICAL
    configurations = (
        ExpectationConfiguration(
            type=spec.type,
            kwargs=dict(kwargs),
            meta={"name": spec.name},
            description=spec.description,
            severity=critical if spec.severity == "error" else FailureSeverity.WARNING,
        )
        for spec, kwargs in bound
    )
    return gx.ExpectationSuite(
        name=SUITE_NAME, expectations=[c.to_domain_obj() for c in configurations]
    )


def _name(result: ExpectationValidationResult) -> str:
    config = result.expectation_config
    if config is None:
        raise TypeError("Great Expectations returned a result without its configuration.")
    return str(config.meta["name"])


def _outcome(spec: ExpectationSpec, result: ExpectationValidationResult) -> ExpectationOutcome:
    details = result.result
    config = result.expectation_config
    outcome = ExpectationOutcome(
        spec.name,
        passed=bool(result.success),
        severity=spec.severity,
        observed=details.get("observed_value", details.get("unexpected_count")),
        unexpected_count=details.get("unexpected_count"),
        element_count=details.get("element_count"),
        record_ids=tuple(
            str(record_id)
            for index in details.get("partial_unexpected_index_list") or ()
            for record_id in index[RECORD_ID.name]
        ),
        allowed=None if config is None else _allowed(config.kwargs),
    )
    if not result.exception_info["raised_exception"]:
        return outcome
    return replace(outcome, passed=False, error=result.exception_info["exception_message"])


def _allowed(kwargs: Mapping[str, Any]) -> str | None:
    """Return the limits of an expectation as a person reads them; None if it has no numbers."""
    low, high = kwargs.get("min_value"), kwargs.get("max_value", kwargs.get("threshold"))
    if low is not None and high is not None:
        return f"{low:.10g} to {high:.10g}"
    if low is not None:
        return f"at least {low:.10g}"
    return None if high is None else f"at most {high:.10g}"


def _one_line(exception_info: Mapping[str, Any] | None, password: str | None) -> dict[str, Any]:
    """Return an expectation's exception in one line; GE stores tracebacks, also one per metric."""
    info = exception_info or {"raised_exception": False}
    by_metric = [info] if "raised_exception" in info else list(info.values())
    raised = [str(exc["exception_message"]) for exc in by_metric if exc["raised_exception"]]
    return {
        "raised_exception": bool(raised),
        "exception_message": first_line(raised[0], password) if raised else None,
        "exception_traceback": "",
    }


def _observed(value: SupportsFloat | list[object] | str | None) -> Observed:
    """Return a value that JSON and GE's renderers accept; numpy floats break the renderers."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return _observed(float(value))
