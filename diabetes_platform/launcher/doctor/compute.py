"""The doctor at Spark and Flink: a query; slots and a real job; the stream's own job."""

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.launcher.flink_distribution import FlinkHome
from diabetes_platform.launcher.flink_jobs import Client, smoke
from diabetes_platform.launcher.install.java import find_java
from diabetes_platform.launcher.install.tools import Tools
from diabetes_platform.launcher.stack.stack import Stack
from diabetes_platform.launcher.stack.stream_job import stream_job_of
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


def stream_job_runs(stack: Stack) -> str:
    """Return the stream job's state and counters; raises where it does not run."""
    state = stream_job_of(stack)
    if not state.running:
        raise RuntimeError(f"job {STREAM_JOB} is {state}")
    return f"job {STREAM_JOB} is {state}"
