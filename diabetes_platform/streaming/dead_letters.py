"""Reading the topic of dead letters: their headers alone, without a trace at the broker."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from diabetes_platform.contract.events import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from diabetes_platform.streaming.rejections import DeadLetter, begin_at, reasons_in

MOST = 5000
"""So many of the newest are read of a partition at one look."""
BEFORE_MS = 600_000
"""The first look goes back ten minutes."""
_SECONDS = 5.0
_AT_ONCE = 500
_GROUP = "dead-letter-alerts"
"""Demanded by the client; nothing is ever committed for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """The dead letters since the look before, and by partition where the next one begins."""

    letters: tuple[DeadLetter, ...]
    offsets: dict[int, int]


def look(servers: str, saved: Mapping[int, int], now_ms: int) -> Look:
    """Read what came since the offsets in `saved`, for at most five seconds; KafkaException.

    `servers` is Kafka's `host:port,…`. What there was no time for comes with the next look.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": _GROUP,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        ends = _ends(consumer)
        places = [_begin(consumer, saved, *end, now_ms) for end in ends]
        consumer.assign(places)
        offsets = {place.partition: place.offset for place in places}
        letters = _read(consumer, offsets, {place.partition: high for place, _, high in ends})
    finally:
        consumer.close()
    return Look(tuple(letters), offsets)


def _ends(consumer: Consumer) -> list[tuple[TopicPartition, int, int]]:
    metadata = consumer.list_topics(REJECTED_TOPIC, timeout=_SECONDS).topics[REJECTED_TOPIC]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    places = [TopicPartition(REJECTED_TOPIC, number) for number in metadata.partitions]
    return [(p, *consumer.get_watermark_offsets(p, timeout=_SECONDS)) for p in places]


def _begin(
    consumer: Consumer,
    saved: Mapping[int, int],
    place: TopicPartition,
    low: int,
    high: int,
    now_ms: int,
) -> TopicPartition:
    offset = begin_at(saved.get(place.partition), low, high, MOST)
    if offset is None:
        asked = TopicPartition(place.topic, place.partition, now_ms - BEFORE_MS)
        (found,) = consumer.offsets_for_times([asked], timeout=_SECONDS)
        # Where nothing is that young the answer is a code below 0.
        offset = begin_at(found.offset if found.offset >= 0 else high, low, high, MOST)
    return TopicPartition(place.topic, place.partition, high if offset is None else offset)


def _read(consumer: Consumer, offsets: dict[int, int], ends: dict[int, int]) -> list[DeadLetter]:
    """Return the letters from `offsets` to `ends`; moves `offsets` on past them."""
    letters: list[DeadLetter] = []
    deadline = time.monotonic() + _SECONDS
    while any(offsets[one] < ends[one] for one in ends) and time.monotonic() < deadline:
        for message in consumer.consume(_AT_ONCE, 0.2):
            problem = message.error()
            if problem is not None:
                raise KafkaException(problem)
            letters.append(_letter(message))
            offsets[message.partition() or 0] = (message.offset() or 0) + 1
    return letters


def _letter(message: Message) -> DeadLetter:
    headers = dict(message.headers() or [])
    _, written_ms = message.timestamp()
    place = f"{message.topic()}-{message.partition()}-{message.offset()}"
    return DeadLetter(reasons_in(headers.get(DEAD_LETTER_HEADERS.reasons)), written_ms, place)
