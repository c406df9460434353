"""Offsets that Kafka no longer has, of a real compacted topic and of a retained one."""

import pytest

from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.lake.log_repair import IngestedOffsets
from diabetes_platform.polling import wait_until
from diabetes_platform.streaming.reread import missing_offsets
from diabetes_platform.streaming.topic import open_topic
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import (
    COMPACTED,
    delete_before,
    message,
    own_topic,
    recreate,
    send,
)

pytestmark = pytest.mark.integration
AT_ONCE = {
    **COMPACTED,
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "100",
}


def missing(kafka: Kafka, name: str, committed: dict[int, int], *aside: IngestedOffsets) -> str:
    with open_topic(name, kafka.bootstrap_servers) as topic:
        found = missing_offsets(topic, committed, aside)
    return ", ".join(str(offsets) for ranges in found.values() for offsets in ranges)


def topic_id(kafka: Kafka, name: str) -> str:
    with open_topic(name, kafka.bootstrap_servers) as topic:
        return topic.topic_id()


def test_finds_what_retention_removed_and_nothing_else(kafka: Kafka) -> None:
    with own_topic(kafka, 2) as name:
        send(kafka, name, [message(n, n) for n in range(1, 11)], partition=1)
        present = topic_id(kafka, name)
        aside = IngestedOffsets(present, (OffsetRange(1, 3, 6),))
        assert missing(kafka, name, {1: 1}, aside) == ""
        delete_before(kafka, name, 1, 4)
        assert missing(kafka, name, {1: 1}, aside) == "1:2-3"
        assert missing(kafka, name, {1: 1}) == "1:2-3", "the damaged commit, of unknown offsets"
        assert missing(kafka, name, {1: 3}, aside) == ""
        assert missing(kafka, name, {}, aside) == "1:3-3"
        assert missing(kafka, name, {1: 9}) == "", "everything was committed before"
        past = IngestedOffsets(present, (OffsetRange(1, 9, 12),))
        assert missing(kafka, name, {1: 8}, past) == "1:10-12", "the broker has lost messages"


def test_offsets_of_a_deleted_topic_are_missing(kafka: Kafka) -> None:
    with own_topic(kafka) as name:
        send(kafka, name, [message(n, n) for n in range(3)], partition=0)
        aside = IngestedOffsets(topic_id(kafka, name), (OffsetRange(0, 1, 2),))
        recreate(kafka, name)
        assert missing(kafka, name, {}, aside) == "0:1-2"


def test_finds_the_holes_of_compaction(kafka: Kafka) -> None:
    with own_topic(kafka, 1, AT_ONCE) as name:
        send(kafka, name, [message(1, lsn) for lsn in range(5)], partition=0)
        filler = iter(range(100, 10_000))

        def compacted() -> bool:
            # Only closed segments are compacted, and a segment closes with the next message.
            send(kafka, name, [message(next(filler), 1)], partition=0)
            return missing(kafka, name, {0: -1}) == "0:0-3"

        wait_until(compacted, timeout=60, interval=1.0)
        aside = IngestedOffsets(topic_id(kafka, name), (OffsetRange(0, 3, 5),))
        assert missing(kafka, name, {0: 1}, aside) == "0:2-3"
