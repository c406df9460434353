"""Custom expectations, pushed down to PostgreSQL.

Importing this module registers them. It also imports Great Expectations, which takes seconds.
"""

from typing import Any, ClassVar

import sqlalchemy as sa
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.execution_engine.sqlalchemy_execution_engine import (
    SqlAlchemyExecutionEngine,
)
from great_expectations.expectations.expectation import BatchExpectation, ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from diabetes_platform.contract.tables import RECORD_ID

SAMPLE_SIZE = 20
"""The maximum number of record ids in an outcome."""


class _WholeNumber(ColumnMapMetricProvider):
    condition_metric_name = "column_values.whole_number"

    @column_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(  # the decorator passes the class
        cls,  # noqa: N805
        column: sa.ColumnElement[float],
        **_: object,
    ) -> sa.ColumnElement[bool]:
        return column == sa.func.floor(column)


class ExpectColumnValuesToBeWholeNumbers(ColumnMapExpectation):
    """Expect every value of a numeric column to have no fraction."""

    map_metric = "column_values.whole_number"


class _RepeatedRows(TableMetricProvider):
    """The number of rows that repeat the values of `column_list`, and some of their record ids.

    NULLs are equal here. ExpectCompoundColumnsToBeUnique compares with SQL's `=`, where they are
    not, and so misses repeated rows without an insulin value.
    """

    metric_name = "table.repeated_rows"
    value_keys = ("column_list",)

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(
        cls,  # noqa: N805 — the decorator passes the class
        execution_engine: SqlAlchemyExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002 — the signature of a metric
        runtime_configuration: dict[str, Any],  # noqa: ARG002 — the signature of a metric
    ) -> dict[str, Any]:
        domain, _, _ = execution_engine.get_compute_domain(
            metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE
        )
        columns: list[sa.ColumnClause[Any]] = [
            sa.column(name) for name in metric_value_kwargs["column_list"]
        ]
        record_id: sa.ColumnClause[str] = sa.column(RECORD_ID.name)
        copies = sa.func.count().over(partition_by=columns).label("copies")
        counted = sa.select(record_id, copies).select_from(domain).subquery()
        query = (
            sa.select(counted.c[RECORD_ID.name], sa.func.count().over())
            .where(counted.c.copies > 1)
            .order_by(counted.c[RECORD_ID.name])
            .limit(SAMPLE_SIZE)
        )
        rows = execution_engine.execute_query(query).fetchall()
        return {"count": rows[0][1] if rows else 0, "record_ids": [row[0] for row in rows]}


class ExpectRowsToBeDistinct(BatchExpectation):
    """Expect no two rows to have the same values in all columns of `column_list`."""

    column_list: list[str]
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.repeated_rows", "table.row_count")
    success_keys: ClassVar[tuple[str, ...]] = ("column_list",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002 — GE's signature
        execution_engine: ExecutionEngine[Any] | None = None,  # noqa: ARG002 — GE's signature
    ) -> dict[str, Any]:
        repeated, rows = metrics["table.repeated_rows"], metrics["table.row_count"]
        ids = [{RECORD_ID.name: [record_id]} for record_id in repeated["record_ids"]]
        return {
            "success": repeated["count"] == 0,
            "result": {
                "observed_value": repeated["count"],
                "element_count": rows,
                "unexpected_count": repeated["count"],
                "unexpected_percent": 100 * repeated["count"] / max(rows, 1),
                "partial_unexpected_index_list": ids,
            },
        }


class ExpectTableColumnsToBeOfTypes(BatchExpectation):
    """Expect the columns named in `column_types` to have these PostgreSQL types."""

    column_types: dict[str, str]
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.column_types",)
    success_keys: ClassVar[tuple[str, ...]] = ("column_types",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002 — GE's signature
        execution_engine: ExecutionEngine[Any] | None = None,  # noqa: ARG002 — GE's signature
    ) -> dict[str, Any]:
        types = {str(c["name"]): str(c["type"]) for c in metrics["table.column_types"]}
        wrong = [
            f"{name}: {types.get(name, 'missing')}, expected {expected}"
            for name, expected in self.column_types.items()
            if types.get(name) != expected
        ]
        observed = "; ".join(wrong) or "as expected"
        return {"success": not wrong, "result": {"observed_value": observed}}
