"""Tombstones of the sink topic for patients whose deletion was lost on the way."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from diabetes_platform.contract.topics import SINK_TOPIC

_SECONDS = 30.0


def send_tombstones(servers: str, ids: Sequence[int], topic: str = SINK_TOPIC) -> None:
    """Write a tombstone for each patient, as Flink does for a deletion.

    The predictor then deletes the predictions, the lake records the deletion, and Kafka removes the
    image. Raises KafkaException unless the broker has confirmed all of them.
    """
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    # Flink's key bytes and its client's partitioner: a patient's messages stay in one partition.
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    for patient in ids:
        producer.produce(topic, key=b'{"id":%d}' % patient, on_delivery=delivered)
        producer.poll(0)
    if producer.flush(_SECONDS):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its public name
    if errors:
        raise KafkaException(errors[0])
