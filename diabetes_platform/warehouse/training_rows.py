"""The labelled rows of the promoted version, as an Arrow table."""

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from psycopg import sql

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.contract.tables import TRAINING_SET


def read_training_rows(url: str) -> pa.Table:
    """Return the rows of `serving.patients` with an outcome (contract TRAINING_SET columns)."""
    query = sql.SQL("SELECT {} FROM serving.patients WHERE {} IS NOT NULL ORDER BY record_id")
    columns = sql.SQL(", ").join(map(sql.Identifier, TRAINING_SET.column_names))
    statement = query.format(columns, sql.Identifier(OUTCOME.name))
    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement.as_string())
        return cursor.fetch_arrow_table()
