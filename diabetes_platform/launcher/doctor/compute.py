"""The doctor at Spark and Flink: a query; slots and a real job."""

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.launcher.flink_cluster import FlinkCluster
from diabetes_platform.launcher.flink_distribution import FlinkHome
from diabetes_platform.launcher.flink_jobs import Client, smoke
from diabetes_platform.launcher.install.java import find_java
from diabetes_platform.launcher.install.tools import Tools
from diabetes_platform.launcher.stack.stack import Stack
from diabetes_platform.settings import Port, inherited_environment

ROWS = 1000


def spark_query(stack: Stack) -> str:
    """Let Spark count; raises where the answer is wrong."""
    with spark_session(stack.settings.spark_remote) as session:
        counted = session.range(ROWS).selectExpr("sum(id) AS total").collect()[0]["total"]
        version = session.version
    if counted != ROWS * (ROWS - 1) // 2:
        raise RuntimeError(f"Spark adds up the first {ROWS} numbers to {counted}")
    return f"Spark {version} answered a query"


def flink_job(stack: Stack) -> str:
    """Run Flink's smoke job in a free slot; raises where there is none or the job fails."""
    cluster = FlinkCluster(stack.url(Port.FLINK))
    overview = cluster.overview()
    if not overview.slots_available:
        raise RuntimeError(str(overview))
    environment = inherited_environment()
    client = Client(FlinkHome(Tools(stack.layout.tools)), find_java(environment), environment)
    return f"{overview}; {smoke(client, cluster)}"
