"""The Java objects behind PyFlink's; no other module reads PyFlink's private attributes.

PyFlink has no public way to a table's rows in Flink's own format, nor to the uids of the operators
that SQL creates. `flink/tests/test_pyflink_internals.py` fails when the pinned version changes:
compare each function with the new version, run the tests, then update `TESTED_VERSION`.
"""

from typing import Any

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment, Table

TESTED_VERSION = "2.3.0"
"""The version of apache-flink with which these functions were tested."""
_ROW_DATA = "org.apache.flink.table.data.RowData"


def row_data_stream(table: Table, tables: StreamTableEnvironment) -> DataStream:
    """Return `table` as a stream of Flink's own rows (RowData).

    A conversion to PyFlink's rows and back would take as long as the job's Python function.
    """
    java_table = table._j_table  # noqa: SLF001
    loader = get_gateway().jvm.Thread.currentThread().getContextClassLoader()
    row_data = loader.loadClass(_ROW_DATA)
    row_type = java_table.getResolvedSchema().toPhysicalRowDataType().bridgedTo(row_data)
    return DataStream(tables._j_tenv.toDataStream(java_table, row_type))  # noqa: SLF001


def transformation(stream: DataStream) -> Any:  # noqa: ANN401 - an object of Java
    """Return the transformation that ends in `stream`."""
    return stream._j_data_stream.getTransformation()  # noqa: SLF001


def transformations(environment: StreamExecutionEnvironment) -> list[Any]:
    """Return the transformations that were added to `environment`, in order."""
    return list(environment._j_stream_execution_environment.getTransformations())  # noqa: SLF001


def gateway_client() -> Any:  # noqa: ANN401 - Py4J has no types
    """Return the client whose `deque` holds the idle connections to the JVM."""
    return get_gateway()._gateway_client  # noqa: SLF001
