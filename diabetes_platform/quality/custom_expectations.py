"""Custom expectations, pushed down to PostgreSQL.

Importing this module registers them. It also imports Great Expectations, which takes seconds.
"""

from typing import Any, ClassVar

import sqlalchemy as sa
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.execution_engine.sqlalchemy_execution_engine import (
    SqlAlchemyExecutionEngine,
)
from great_expectations.expectations.core.unexpected_rows_expectation import (
    UnexpectedRowsExpectation,
)
from great_expectations.expectations.expectation import BatchExpectation, ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)

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


class ExpectQueryToReturnNoRecords(UnexpectedRowsExpectation):
    """Expect a query of record ids to return no row; the result contains only the ids."""

    metric_dependencies: ClassVar[tuple[str, ...]] = (
        *UnexpectedRowsExpectation.metric_dependencies,
        "table.row_count",
    )

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002 — GE's signature
        execution_engine: ExecutionEngine[Any] | None = None,  # noqa: ARG002 — GE's signature
    ) -> dict[str, Any]:
        count, rows = metrics["unexpected_rows_query.row_count"], metrics["table.row_count"]
        sample = metrics["unexpected_rows_query.table"][:SAMPLE_SIZE]
        return {
            "success": count == 0,
            "result": {
                "observed_value": count,
                "element_count": rows,
                "unexpected_count": count,
                "unexpected_percent": 100 * count / max(rows, 1),
                "partial_unexpected_index_list": [
                    {RECORD_ID.name: [row[RECORD_ID.name]]} for row in sample
                ],
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
