"""The job's Kafka topics as Flink SQL tables."""

from dataclasses import dataclass
from typing import Final

from diabetes_platform.contract.events import (
    CDC_TOPIC,
    HEARTBEAT_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOW_KEYS,
    WINDOWED_TOPIC,
)

SOURCE, IMAGES, DEAD_LETTERS, WINDOWS = "received", "images", "rejected", "windowed"
IGNORED, LATE = "ignored", "late"
GROUP: Final = "flink-patients"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one job, by default those of the contract."""

    changes: str = CDC_TOPIC
    images: str = SINK_TOPIC
    rejected: str = REJECTED_TOPIC
    windowed: str = WINDOWED_TOPIC


def source_ddl(servers: str, topics: Topics, *, bounded: bool) -> str:
    """Return the source of raw messages; `bounded` ends it at the newest message at the start.

    Without a checkpoint it starts at the oldest message that Kafka still has. The state is then
    rebuilt, and readers recognise repeated messages by id and lsn.
    """
    options = {
        "topic": f"{topics.changes};{HEARTBEAT_TOPIC}",
        "properties.group.id": GROUP,
        "scan.startup.mode": "earliest-offset",
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
    columns = (
        "`key` BYTES, `value` BYTES, `topic` STRING METADATA VIRTUAL, "
        "`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL"
    )
    return _table(SOURCE, columns, "kafka", servers, options)


def images_ddl(servers: str, topics: Topics) -> str:
    """Return the compacted topic of newest images; a row without image becomes a tombstone."""
    options = {
        "topic": topics.images,
        "key.format": "json",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = "id BIGINT, image BYTES, PRIMARY KEY (id) NOT ENFORCED"
    return _table(IMAGES, columns, "upsert-kafka", servers, {**options, **SINK_OPTIONS})


def dead_letters_ddl(servers: str, topics: Topics) -> str:
    """Return the topic of rejected messages: original bytes, and headers with the reasons."""
    options = {
        "topic": topics.rejected,
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = "`key` BYTES, `value` BYTES, headers MAP<STRING, BYTES> METADATA"
    return _table(DEAD_LETTERS, columns, "kafka", servers, {**options, **SINK_OPTIONS})


def windows_ddl(servers: str, topics: Topics) -> str:
    """Return the topic of windows, keyed by their start."""
    integers = (WINDOW_KEYS.start, WINDOW_KEYS.end, *WINDOW_KEYS.counts)
    columns = ", ".join(
        f"`{name}` {'BIGINT' if name in integers else 'DOUBLE'}" for name in WINDOW_KEYS.all
    )
    options = {
        "topic": topics.windowed,
        "key.format": "json",
        "key.fields": WINDOW_KEYS.start,
        "value.format": "json",
    }
    return _table(WINDOWS, columns, "kafka", servers, {**options, **SINK_OPTIONS})


def ignored_ddl(servers: str, topics: Topics) -> str:  # noqa: ARG001 - all sinks' signature
    """Return the table that counts ignored messages and keeps none."""
    return _counting_table(IGNORED)


def late_ddl(servers: str, topics: Topics) -> str:  # noqa: ARG001 - all sinks' signature
    """Return the table that counts late messages; the other tables get them too."""
    return _counting_table(LATE)


def _counting_table(name: str) -> str:
    return f"CREATE TEMPORARY TABLE {name} (kind STRING) WITH ('connector' = 'blackhole')"


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
}


def _table(name: str, columns: str, connector: str, servers: str, options: dict[str, str]) -> str:
    all_options = {"connector": connector, "properties.bootstrap.servers": servers, **options}
    clause = ", ".join(f"'{key}' = '{_quoted(value)}'" for key, value in all_options.items())
    return f"CREATE TEMPORARY TABLE {name} ({columns}) WITH ({clause})"


def _quoted(value: str) -> str:
    return value.replace("'", "''")
