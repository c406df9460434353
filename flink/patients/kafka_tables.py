"""The job's Kafka topics as Flink SQL tables."""

from collections.abc import Mapping
from dataclasses import dataclass

from diabetes_platform.contract.topics import (
    CDC_TOPIC,
    FLINK_GROUP,
    HEARTBEAT_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOW_KEYS,
    WINDOWED_TOPIC,
)

SOURCE, IMAGES, DEAD_LETTERS, WINDOWS = "received", "images", "rejected", "windowed"
IGNORED, LATE = "ignored", "late"
SINK_OPTIONS = {
    "sink.delivery-guarantee": "at-least-once",
    "properties.linger.ms": "0",
    # Do not wait to fill a batch: records that arrive during a request form the next batch.
    "properties.batch.size": "131072",
    "properties.acks": "all",
    "properties.max.in.flight.requests.per.connection": "1",
    "properties.compression.type": "lz4",
    # Longer than a broker's restart: the job only fails and restarts after two minutes.
    "properties.delivery.timeout.ms": "120000",
    # Added partitions receive messages within half a minute.
    "properties.metadata.max.age.ms": "30000",
}


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one job, by default those of the contract."""

    changes: str = CDC_TOPIC
    images: str = SINK_TOPIC
    rejected: str = REJECTED_TOPIC
    windowed: str = WINDOWED_TOPIC


def source_ddl(servers: str, topics: Topics, *, bounded: bool) -> str:
    """Return the source of raw messages; `bounded` reads all that Kafka has at the start, and ends.

    Without a checkpoint, the source continues after the last one that completed: Flink then commits
    its offsets, when the sinks have all that came from earlier messages. Partitions without a
    committed offset start at the oldest message that Kafka still has.
    """
    options = {
        "connector": "kafka",
        "properties.bootstrap.servers": servers,
        "topic": f"{topics.changes};{HEARTBEAT_TOPIC}",
        "properties.group.id": FLINK_GROUP,
        "scan.startup.mode": "earliest-offset" if bounded else "group-offsets",
        "properties.auto.offset.reset": "earliest",
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        # A fetch without data waits at the broker and returns with the first message.
        "properties.fetch.max.wait.ms": "500",
        "properties.fetch.min.bytes": "1",
    }
    if bounded:
        options["scan.bounded.mode"] = "latest-offset"
    else:
        # Added partitions are read from their first message. Flink's default of five minutes is how
        # long their patients would wait.
        options["scan.topic-partition-discovery.interval"] = "10 s"
    columns = (
        "`key` BYTES, `value` BYTES, `topic` STRING METADATA VIRTUAL, "
        "`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL"
    )
    return _table(SOURCE, columns, options)


def sink_ddls(servers: str, topics: Topics) -> dict[str, str]:
    """Return the tables that the graph writes, by name.

    The topic of images is compacted: a row without image becomes a tombstone. A dead letter has the
    original's bytes, and headers with the reasons. Ignored and late messages are only counted.
    """
    integers = (WINDOW_KEYS.start, WINDOW_KEYS.end, *WINDOW_KEYS.counts)
    window_columns = ", ".join(
        f"`{name}` {'BIGINT' if name in integers else 'DOUBLE'}" for name in WINDOW_KEYS.all
    )
    raw_value = {"value.format": "raw", "value.fields-include": "EXCEPT_KEY"}
    images = {"topic": topics.images, "key.format": "json", **raw_value}
    rejected = {"topic": topics.rejected, "key.format": "raw", "key.fields": "key", **raw_value}
    windowed = {"topic": topics.windowed, "key.format": "json", "value.format": "json"}
    kafka = {"properties.bootstrap.servers": servers, **SINK_OPTIONS}
    return {
        IMAGES: _table(
            IMAGES,
            "id BIGINT, image BYTES, PRIMARY KEY (id) NOT ENFORCED",
            {"connector": "upsert-kafka", **images, **kafka},
        ),
        DEAD_LETTERS: _table(
            DEAD_LETTERS,
            "`key` BYTES, `value` BYTES, headers MAP<STRING, BYTES> METADATA",
            {"connector": "kafka", **rejected, **kafka},
        ),
        WINDOWS: _table(
            WINDOWS,
            window_columns,
            {"connector": "kafka", **windowed, "key.fields": WINDOW_KEYS.start, **kafka},
        ),
        IGNORED: _table(IGNORED, "kind STRING", {"connector": "blackhole"}),
        LATE: _table(LATE, "kind STRING", {"connector": "blackhole"}),
    }


def _table(name: str, columns: str, options: Mapping[str, str]) -> str:
    clause = ", ".join(f"'{key}' = '{_quoted(value)}'" for key, value in options.items())
    return f"CREATE TEMPORARY TABLE {name} ({columns}) WITH ({clause})"


def _quoted(value: str) -> str:
    return value.replace("'", "''")
