"""The offsets that a table reads from Kafka again after its newest commits were set aside.

The topic of images is compacted, and an ingest run accepts its holes. So images that were replaced
since would be missing from the table without an error.
"""

from collections.abc import Iterable, Iterator, Mapping

from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.lake.log_repair import IngestedOffsets
from diabetes_platform.streaming.topic import Topic


def missing_offsets(
    topic: Topic, committed: Mapping[int, int], aside: Iterable[IngestedOffsets]
) -> dict[str, list[OffsetRange]]:
    """Return the offsets after `committed` that Kafka no longer has, by the id of their topic.

    A partition is compared up to the newest offset of `aside`, the intact commits. Without one, the
    damaged commit may have read it to its present end. Reads all these messages. Raises
    KafkaException, and OffsetsDeletedError if Kafka deletes some meanwhile.
    """
    topic_id, missing = topic.topic_id(), dict[str, list[OffsetRange]]()
    ranges: dict[int, list[OffsetRange]] = {}
    for commit in aside:
        for offsets in commit.ranges:
            if commit.topic_id == topic_id:
                ranges.setdefault(offsets.partition, []).append(offsets)
            else:
                missing.setdefault(commit.topic_id, []).append(offsets)
    for partition, (low, high) in topic.watermarks().items():
        own = ranges.get(partition, [])
        oldest = min((offsets.first for offsets in own), default=low)
        first = committed[partition] + 1 if partition in committed else oldest
        last = max((offsets.last for offsets in own), default=high - 1)
        if first <= last:
            absent = list(_absent(topic, topic_id, OffsetRange(partition, first, last), low, high))
            if absent:
                missing.setdefault(topic_id, []).extend(absent)
    return missing


def _absent(
    topic: Topic, topic_id: str, offsets: OffsetRange, low: int, high: int
) -> Iterator[OffsetRange]:
    """Yield the parts of a range that the topic, with offsets from `low` to below `high`, lacks."""
    expected = offsets.first
    first, last = max(offsets.first, low), min(offsets.last, high - 1)
    if first <= last:
        for message in topic.read(topic_id, OffsetRange(offsets.partition, first, last)):
            offset = message.position.offset
            if offset > expected:
                yield OffsetRange(offsets.partition, expected, offset - 1)
            expected = offset + 1
    if expected <= offsets.last:
        yield OffsetRange(offsets.partition, expected, offsets.last)
