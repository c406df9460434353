"""What is wrong with the services of the stream now, asked of each of them.

A service that does not answer is a trouble like any other: nothing here raises for it.
"""

from collections.abc import Mapping
from typing import Any

import httpx
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from diabetes_platform.contract.events import CONNECTOR, PREDICTOR_GROUP, SINK_TOPIC, STREAM_JOB
from diabetes_platform.streaming.troubles import Trouble
from diabetes_platform.tls import tls

MOST_BEHIND = 1_000
"""Messages that the predictor may be behind; it does five times as many in a second."""
_RUNNING = "RUNNING"
_SECONDS = 5.0


def connector_troubles(connect_url: str) -> list[Trouble]:
    """Ask Kafka Connect for the connector and its tasks."""
    try:
        answer = _get(f"{connect_url}/connectors/{CONNECTOR}/status")
    except httpx.HTTPStatusError as error:
        text = f"Kafka Connect answers {error.response.status_code} when asked for it"
        return [Trouble(f"connector {CONNECTOR}", text)]
    except httpx.TransportError as error:
        return [_silent("Kafka Connect", error)]
    states = [answer["connector"]["state"], *(task["state"] for task in answer["tasks"])]
    if len(states) > 1 and set(states) == {_RUNNING}:
        return []
    said = f"is {states[0]}, its task {', '.join(states[1:]) or 'missing'}"
    return [Trouble(f"connector {CONNECTOR}", said)]


def job_troubles(flink_url: str) -> list[Trouble]:
    """Ask Flink for the stream's job."""
    try:
        jobs = _get(f"{flink_url}/jobs/overview")["jobs"]
    except httpx.HTTPStatusError as error:
        text = f"Flink answers {error.response.status_code} when asked for it"
        return [Trouble(f"job {STREAM_JOB}", text)]
    except httpx.TransportError as error:
        return [_silent("Flink", error)]
    states = [
        job["state"]
        for job in sorted(jobs, key=lambda job: int(job["start-time"]))
        if job["name"] == STREAM_JOB
    ]
    if _RUNNING in states:
        return []
    return [Trouble(f"job {STREAM_JOB}", f"is {states[-1] if states else 'not on the cluster'}")]


def lag_troubles(servers: str) -> list[Trouble]:
    """Ask Kafka how many messages the predictor is behind the sink topic."""
    try:
        behind = _behind(servers)
    except KafkaException as error:
        return [_silent("Kafka", error)]
    if behind <= MOST_BEHIND:
        return []
    text = f"is {behind:,} messages behind {SINK_TOPIC}, allowed {MOST_BEHIND:,}"
    return [Trouble(f"group {PREDICTOR_GROUP}", text)]


def _behind(servers: str) -> int:
    """Sum over the partitions; where nothing was committed all that the topic holds counts."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
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


def _get(url: str) -> Mapping[str, Any]:
    answer = httpx.get(url, timeout=_SECONDS, verify=tls(), trust_env=False)
    found: Mapping[str, Any] = answer.raise_for_status().json()
    return found


def _silent(service: str, error: Exception) -> Trouble:
    return Trouble(service, f"does not answer ({type(error).__name__})")
