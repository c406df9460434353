"""Contract tables rendered as Spark schemas."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from diabetes_platform.contract.tables import ColumnType, Table

_SPARK: dict[ColumnType, DataType] = {
    "text": StringType(),
    "integer": IntegerType(),
    "bigint": LongType(),
    "number": DoubleType(),
    "timestamp": TimestampType(),
    "text[]": ArrayType(StringType(), containsNull=False),
}


def spark_schema(table: Table) -> StructType:
    """Return the Spark schema of `table`; descriptions become column comments."""
    return StructType(
        [
            StructField(
                column.name, _SPARK[column.type], column.nullable, {"comment": column.description}
            )
            for column in table.columns
        ]
    )


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """Return exactly the columns of `table`, in its order and with its types."""
    return frame.select(*(_typed(column.name, column.type) for column in table.columns))


def _typed(name: str, kind: ColumnType) -> Column:
    return sf.col(name).cast(_SPARK[kind]).alias(name)
