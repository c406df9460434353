"""Contract tables rendered as Spark schemas.

As DDL text, which the server parses: from a `StringType()` of the client, Apache Spark writes the
Delta type `string collate UTF8_BINARY`, which no other reader of Delta knows.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from diabetes_platform.contract.tables import ColumnType, Table

_SPARK: dict[ColumnType, str] = {
    "text": "string",
    "integer": "int",
    "bigint": "bigint",
    "number": "double",
    "timestamp": "timestamp",
    "text[]": "array<string>",
}


def spark_schema(table: Table) -> str:
    """Return the schema of `table` as Spark's DDL: `count bigint NOT NULL, q1 double, …`."""
    return ", ".join(
        f"`{column.name}` {_SPARK[column.type]}{'' if column.nullable else ' NOT NULL'}"
        for column in table.columns
    )


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """Return exactly the columns of `table`, in its order and with its types."""
    return frame.select(*(sf.col(c.name).cast(_SPARK[c.type]).alias(c.name) for c in table.columns))
