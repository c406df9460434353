"""The health check of Spark: a query."""

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.local.health import HealthCheck, restart_remedy
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port

ROWS = 1000


def spark_query(stack: Stack) -> str:
    """Run a query; raises RuntimeError if the result is wrong."""
    with spark_session(stack.settings.spark_remote) as session:
        total = session.range(ROWS).selectExpr("sum(id) AS total").collect()[0]["total"]
        version = session.version
    if total != ROWS * (ROWS - 1) // 2:
        raise RuntimeError(f"Spark adds up the first {ROWS} numbers to {total}")
    return f"Spark {version} answered a query"


CHECKS = (
    HealthCheck(
        "spark-connect",
        "answers a query",
        spark_query,
        restart_remedy("spark-connect"),
        Port.SPARK_CONNECT,
    ),
)
