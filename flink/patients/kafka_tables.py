"""Kafka's topics as tables: what the job reads, and what it writes."""

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
    """The topics of one job; those of the contract unless said otherwise."""

    changes: str = CDC_TOPIC
    images: str = SINK_TOPIC
    rejected: str = REJECTED_TOPIC
    windowed: str = WINDOWED_TOPIC


def source_ddl(servers: str, topics: Topics, *, bounded: bool) -> str:
    """Return the table of messages as they are; `bounded` ends it at what there is at the start.

    Without a checkpoint it begins with the oldest message that Kafka still has: then the state
    is made anew, and readers know what they have had by id and lsn.
    """
    options = {
        "topic": f"{topics.changes};{HEARTBEAT_TOPIC}",
        "properties.group.id": GROUP,
        "scan.startup.mode": "earliest-offset",
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        # A reader that is ahead waits at the broker; what comes is sent at once.
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
    """Return the compacted topic of newest images; a row without image is written as tombstone."""
    options = {
        "topic": topics.images,
        "key.format": "json",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = "id BIGINT, image BYTES, PRIMARY KEY (id) NOT ENFORCED"
    return _table(IMAGES, columns, "upsert-kafka", servers, {**options, **WRITTEN})


def dead_letters_ddl(servers: str, topics: Topics) -> str:
    """Return the topic of rejected messages: original bytes, and headers that say why."""
    options = {
        "topic": topics.rejected,
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = "`key` BYTES, `value` BYTES, headers MAP<STRING, BYTES> METADATA"
    return _table(DEAD_LETTERS, columns, "kafka", servers, {**options, **WRITTEN})


def windows_ddl(servers: str, topics: Topics) -> str:
    """Return the topic of windows, keyed by where each begins."""
    whole = (WINDOW_KEYS.start, WINDOW_KEYS.end, *WINDOW_KEYS.counts)
    columns = ", ".join(
        f"`{name}` {'BIGINT' if name in whole else 'DOUBLE'}" for name in WINDOW_KEYS.all
    )
    options = {
        "topic": topics.windowed,
        "key.format": "json",
        "key.fields": WINDOW_KEYS.start,
        "value.format": "json",
    }
    return _table(WINDOWS, columns, "kafka", servers, {**options, **WRITTEN})


def ignored_ddl(servers: str, topics: Topics) -> str:  # noqa: ARG001 - as the others
    """Return the table where ignored messages end: they are counted there, and go nowhere."""
    return _counted(IGNORED)


def late_ddl(servers: str, topics: Topics) -> str:  # noqa: ARG001 - as the others
    """Return the table where late messages are counted; they go their way as well."""
    return _counted(LATE)


def _counted(name: str) -> str:
    return f"CREATE TEMPORARY TABLE {name} (kind STRING) WITH ('connector' = 'blackhole')"


WRITTEN = {
    "sink.delivery-guarantee": "at-least-once",
    "properties.linger.ms": "0",
    # Nothing waits to fill a batch: what gathers while the only one is under way goes in the next.
    "properties.batch.size": "131072",
    "properties.acks": "all",
    "properties.max.in.flight.requests.per.connection": "1",
    "properties.compression.type": "lz4",
    # A broker that restarts is waited for; the job fails, and begins again, only after minutes.
    "properties.delivery.timeout.ms": "120000",
}


def _table(name: str, columns: str, connector: str, servers: str, options: dict[str, str]) -> str:
    given = {"connector": connector, "properties.bootstrap.servers": servers, **options}
    written = ", ".join(f"'{key}' = '{_quoted(value)}'" for key, value in given.items())
    return f"CREATE TEMPORARY TABLE {name} ({columns}) WITH ({written})"


def _quoted(value: str) -> str:
    return value.replace("'", "''")
