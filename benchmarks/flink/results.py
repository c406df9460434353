"""The job's output, read to its end and compared with the expected output."""

import json
from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from benchmarks.flink.events import Expected
from diabetes_platform.errors import PlatformError


def verified(servers: str, images: str, rejected: str, expected: Expected) -> float:
    """Return the seconds between the first and the last written message.

    Raises PlatformError if the output differs from `expected`.
    """
    timestamps: list[int] = []
    newest: dict[int, int | None] = {}
    written = 0
    for message in _all(servers, images):
        timestamps.append(message.timestamp()[1])
        written += 1
        value = message.value()
        row_id = json.loads(message.key() or b"")["id"]
        newest[row_id] = None if value is None else json.loads(value)["lsn"]
    letters = 0
    for message in _all(servers, rejected):
        timestamps.append(message.timestamp()[1])
        letters += 1
    actual = {"written": written, "rejected": letters}
    target = {"written": expected.written, "rejected": expected.rejected}
    if actual != target:
        raise PlatformError(f"the job wrote {actual}, expected {target}")
    wrong = [row_id for row_id, lsn in expected.newest.items() if newest.get(row_id, -1) != lsn]
    if wrong:
        raise PlatformError(f"{len(wrong)} patients have another newest image than expected")
    return (max(timestamps) - min(timestamps)) / 1000


def _all(servers: str, topic: str) -> Iterator[Message]:
    options = {"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False}
    consumer = Consumer({**options, "enable.partition.eof": True})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        ended = 0
        while ended < len(partitions):
            for message in consumer.consume(10_000, 10):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    ended += 1
                else:
                    raise PlatformError(str(error))
    finally:
        consumer.close()
