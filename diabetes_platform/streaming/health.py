"""Health of the stream's services: connector, Flink job, the predictor's partitions and lag.

A service that does not answer is returned as an issue, not raised as an error.
"""

from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from diabetes_platform.clients import unix_socket
from diabetes_platform.clients.connect import NO_ANSWER, connector_state
from diabetes_platform.clients.errors import ServiceError, ServiceResponseError
from diabetes_platform.clients.flink import RUNNING, FlinkCluster
from diabetes_platform.contract.topics import CONNECTOR, PREDICTOR_GROUP, SINK_TOPIC, STREAM_JOB
from diabetes_platform.streaming.incidents import HealthIssue
from diabetes_platform.streaming.offset_gaps import poll_group

MAX_LAG = 1_000
"""The allowed lag in messages; the predictor scores five times as many in a second."""
_SECONDS = 5.0


def supervisor_issues(path: Path) -> list[HealthIssue]:
    """Check that the supervisor answers on its Unix socket."""
    if unix_socket.request(path, "GET", "/live", _SECONDS) is not None:
        return []
    problem = "does not answer, so nothing restarts a service that fails: run `make up`"
    return [HealthIssue("supervisor", problem)]


def connector_issues(connect_url: str) -> list[HealthIssue]:
    """Check the connector and its tasks in Kafka Connect."""
    state = connector_state(connect_url, CONNECTOR, _SECONDS)
    if state.running:
        return []
    if state.connector == NO_ANSWER:
        return [HealthIssue("Kafka Connect", "does not answer")]
    return [HealthIssue(f"connector {CONNECTOR}", f"is {state}")]


def job_issues(flink_url: str) -> list[HealthIssue]:
    """Check that Flink runs the stream's job."""
    try:
        jobs = FlinkCluster(flink_url, seconds=_SECONDS).jobs()
    except ServiceResponseError as error:
        return [HealthIssue(f"job {STREAM_JOB}", str(error))]
    except ServiceError:
        return [HealthIssue("Flink", "does not answer")]
    submitted = [job for job in jobs if job.name == STREAM_JOB]
    states = [job.state for job in sorted(submitted, key=lambda job: job.started_ms)]
    if RUNNING in states:
        return []
    state = states[-1] if states else "not on the cluster"
    return [HealthIssue(f"job {STREAM_JOB}", f"is {state}")]


def lag_issues(servers: str) -> list[HealthIssue]:
    """Check the lag of the predictor behind the sink topic, in messages."""
    try:
        lag = poll_group(servers, PREDICTOR_GROUP, SINK_TOPIC).lag
    except KafkaException as error:
        return [HealthIssue("Kafka", f"does not answer ({type(error).__name__})")]
    if lag <= MAX_LAG:
        return []
    problem = f"is {lag:,} messages behind {SINK_TOPIC}, allowed {MAX_LAG:,}"
    return [HealthIssue(f"group {PREDICTOR_GROUP}", problem)]


def assignment_issues(servers: str) -> list[HealthIssue]:
    """Check that a predictor is assigned every partition of the sink topic.

    `lag_issues` reports a broker that does not answer.
    """
    try:
        unassigned = _unassigned_partitions(servers)
    except KafkaException:
        return []
    if not unassigned:
        return []
    numbers = ", ".join(map(str, sorted(unassigned)))
    problem = f"partitions without a predictor: {numbers}; their patients wait for a prediction"
    return [HealthIssue(f"members of group {PREDICTOR_GROUP}", problem)]


def _unassigned_partitions(servers: str) -> set[int]:
    """Return the partitions of the sink topic that no member of the group is assigned."""
    with AdminClient({"bootstrap.servers": servers, "log_level": 0}) as admin:
        metadata = admin.list_topics(SINK_TOPIC, timeout=_SECONDS)
        partitions = set(metadata.topics[SINK_TOPIC].partitions)
        futures = admin.describe_consumer_groups([PREDICTOR_GROUP], request_timeout=_SECONDS)
        try:
            members = futures[PREDICTOR_GROUP].result().members
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
            members = []
    assigned = {
        partition.partition
        for member in members
        for partition in member.assignment.topic_partitions
        if partition.topic == SINK_TOPIC
    }
    return partitions - assigned
