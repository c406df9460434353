"""What is wrong with the services of the stream now, asked of each of them.

A service that does not answer is a trouble like any other: nothing here raises for it.
"""

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from diabetes_platform.clients.connect import NO_ANSWER, connector_state
from diabetes_platform.clients.errors import RefusedError, ServiceError
from diabetes_platform.clients.flink import RUNNING, FlinkCluster
from diabetes_platform.contract.events import CONNECTOR, PREDICTOR_GROUP, SINK_TOPIC, STREAM_JOB
from diabetes_platform.streaming.troubles import Trouble

MOST_BEHIND = 1_000
"""Messages that the predictor may be behind; it does five times as many in a second."""
_SECONDS = 5.0


def connector_troubles(connect_url: str) -> list[Trouble]:
    """Ask Kafka Connect for the connector and its tasks."""
    state = connector_state(connect_url, CONNECTOR, _SECONDS)
    if state.running:
        return []
    if state.connector == NO_ANSWER:
        return [Trouble("Kafka Connect", "does not answer")]
    return [Trouble(f"connector {CONNECTOR}", f"is {state}")]


def job_troubles(flink_url: str) -> list[Trouble]:
    """Ask Flink for the stream's job."""
    try:
        jobs = FlinkCluster(flink_url, seconds=_SECONDS).jobs()
    except RefusedError as error:
        return [Trouble(f"job {STREAM_JOB}", str(error))]
    except ServiceError:
        return [Trouble("Flink", "does not answer")]
    ours = sorted((job for job in jobs if job.name == STREAM_JOB), key=lambda job: job.started_ms)
    states = [job.state for job in ours]
    if RUNNING in states:
        return []
    return [Trouble(f"job {STREAM_JOB}", f"is {states[-1] if states else 'not on the cluster'}")]


def lag_troubles(servers: str) -> list[Trouble]:
    """Ask Kafka how many messages the predictor is behind the sink topic."""
    try:
        with AdminClient({"bootstrap.servers": servers, "log_level": 0}) as admin:
            behind = _behind(admin)
    except KafkaException as error:
        return [Trouble("Kafka", f"does not answer ({type(error).__name__})")]
    if behind <= MOST_BEHIND:
        return []
    text = f"is {behind:,} messages behind {SINK_TOPIC}, allowed {MOST_BEHIND:,}"
    return [Trouble(f"group {PREDICTOR_GROUP}", text)]


def _behind(admin: AdminClient) -> int:
    """Sum over the partitions; where nothing was committed all that the topic holds counts."""
    topic = admin.list_topics(SINK_TOPIC, timeout=_SECONDS).topics[SINK_TOPIC]
    if topic.error is not None:
        raise KafkaException(topic.error)
    places = [TopicPartition(SINK_TOPIC, number) for number in topic.partitions]
    group = [ConsumerGroupTopicPartitions(PREDICTOR_GROUP, places)]
    offsets = admin.list_consumer_group_offsets(group, request_timeout=_SECONDS)
    committed = {
        one.partition: one.offset for one in offsets[PREDICTOR_GROUP].result().topic_partitions
    }
    lows, highs = (
        {
            place.partition: answer.result().offset
            for place, answer in admin.list_offsets(
                dict.fromkeys(places, spec), request_timeout=_SECONDS
            ).items()
        }
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    )
    return sum(highs[number] - max(committed[number], lows[number]) for number in highs)
