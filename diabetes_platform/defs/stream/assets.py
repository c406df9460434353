"""The topics of the stream, and their tables, as assets partitioned by day (UTC)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.topics import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetRange
from diabetes_platform.lake.stream_quality import rejections_of_day, windows_of_day
from diabetes_platform.orchestration.check_results import counts_markdown
from diabetes_platform.orchestration.describe import (
    DAILY,
    GROUPS,
    OWNER,
    REJECTED,
    REJECTED_POOL,
    STREAM,
    STREAM_POOL,
    WINDOWS,
    WINDOWS_POOL,
    asset_options,
    table_metadata,
    topic_key,
)
from diabetes_platform.orchestration.retries import non_retryable_errors, retried
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming import rows
from diabetes_platform.streaming.ingest import (
    DayLostError,
    IngestRequest,
    PartitionsBlockedError,
    ingest,
    rebuild,
)
from diabetes_platform.streaming.offsets import FIRST_DAY, MessagesLostError
from diabetes_platform.streaming.rows import TopicTable, UnreadableMessageError
from diabetes_platform.streaming.topic import OffsetsDeletedError, Topic, open_topic

NO_STREAM = "PLATFORM_KAFKA_SERVERS is not set, so there is no stream"
MAX_REASONS = 20
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1)
"""Includes today, whose partition is still filled."""
_FAST_SECONDS = 1
"""The daemon evaluates a sensor at most every five seconds."""
_SLOW_SECONDS = 300
"""Each run costs a process, and nobody waits for these rows: `rejection_alerts` reads the topic."""


@dataclass(frozen=True, slots=True)
class StreamAsset:
    """The asset of a topic, partitioned by the day (UTC) on which Flink wrote the message.

    `day_metadata` describes a day beyond its row count. The pool of the runs has the name of their
    job. The sensor is evaluated every `sensor_seconds` and observes the topic as well as
    `observed_topics`.
    """

    key: dg.AssetKey
    topic: str
    topic_table: TopicTable
    description: str
    job: str
    sensor: str
    sensor_seconds: int
    freshness: dg.FreshnessPolicy | None
    day_metadata: Callable[[Lake, str], Mapping[str, Any]] = lambda _lake, _day: {}
    observed_topics: tuple[str, ...] = ()


def _rejections_metadata(lake: Lake, day: str) -> dict[str, Any]:
    rejections = rejections_of_day(lake, day)
    return {
        "records_of_day": rejections.records,
        "reasons": counts_markdown(rejections.reasons, "reason", "records", MAX_REASONS),
    }


def _windows_metadata(lake: Lake, day: str) -> dict[str, Any]:
    sums = windows_of_day(lake, day)
    counts = {name: getattr(sums, name) for name in ("events", "accepted", "rejected", "late")}
    return {"windows_of_day": sums.windows, **{f"{n}_of_day": c for n, c in counts.items()}}


PATIENTS_ASSET = StreamAsset(
    STREAM,
    SINK_TOPIC,
    rows.PATIENTS,
    "Every change that the stream accepted, deletions included, once, by the day (UTC) on which "
    "Flink wrote it. The Delta log records the ingested offsets.",
    job=STREAM_POOL,
    sensor="stream_increments",
    sensor_seconds=_FAST_SECONDS,
    freshness=DAILY,
    observed_topics=(CDC_TOPIC,),
)
REJECTED_ASSET = StreamAsset(
    REJECTED,
    REJECTED_TOPIC,
    rows.REJECTED,
    "Every dead letter of the stream, by the day (UTC) on which it was written: original bytes, "
    "all reasons and the position of the original. Contains patients' values.",
    job=REJECTED_POOL,
    sensor="rejected_increments",
    sensor_seconds=_SLOW_SECONDS,
    # The absence of dead letters is normal.
    freshness=None,
    day_metadata=_rejections_metadata,
)
WINDOWS_ASSET = StreamAsset(
    WINDOWS,
    WINDOWED_TOPIC,
    rows.WINDOWS,
    "Counts and means of each minute of event time, by the day (UTC) on which Flink wrote them. "
    "Contains no values of single patients.",
    job=WINDOWS_POOL,
    sensor="windows_increments",
    sensor_seconds=_SLOW_SECONDS,
    freshness=DAILY,
    day_metadata=_windows_metadata,
)
STREAM_ASSETS = (PATIENTS_ASSET, REJECTED_ASSET, WINDOWS_ASSET)


class IngestConfig(dg.Config):
    """The unread offsets, which the sensor fills in; without `ranges`, the day is rebuilt."""

    topic_id: str = Field(default="", description="Kafka's id of the topic.")
    ranges: list[str] = Field(
        default=[], description="Unread offsets, `partition:first-last`, one range a partition."
    )
    accept_loss: bool = Field(
        default=False,
        description="Ingest one batch, without messages that Kafka has deleted or that cannot be "
        "read.",
    )


def build_stream_asset(stream_asset: StreamAsset) -> dg.AssetsDefinition:
    """Return the asset of a topic's table."""
    contract, upstream = stream_asset.topic_table.contract, topic_key(stream_asset.topic)
    options = asset_options(stream_asset.key, {"python", "kafka", "deltalake"}, stream_asset.job)

    @dg.asset(
        **{**options, "freshness_policy": stream_asset.freshness},
        partitions_def=DAYS,
        deps=[upstream],
        description=stream_asset.description,
        metadata=table_metadata(contract, {upstream: DIABETES_NEW}),
    )
    @retried
    def stream_table(
        context: dg.AssetExecutionContext,
        config: IngestConfig,
        settings: dg.ResourceParam[PlatformSettings],
        lake: dg.ResourceParam[Lake],
    ) -> dg.MaterializeResult:
        """Ingest the unread offsets of a day, or rebuild the day."""
        if settings.kafka_servers is None:
            raise dg.Failure(NO_STREAM, allow_retries=False)
        with (
            non_retryable_errors(
                MessagesLostError, DayLostError, OffsetsDeletedError, UnreadableMessageError
            ),
            open_topic(stream_asset.topic, settings.kafka_servers) as topic,
        ):
            add_rows = _ingest if config.ranges else _rebuild
            metadata = add_rows(context, stream_asset, config, lake, topic)
        context.log.info("%s", metadata)
        table = IncrementalTable.open_or_create(lake, contract)
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": table.count_rows(context.partition_key),
                "dagster/uri": lake.table(contract).path,
                "delta_version": table.version,
                "topic": stream_asset.topic,
                **metadata,
                **stream_asset.day_metadata(lake, context.partition_key),
            }
        )

    asset: dg.AssetsDefinition = stream_table
    return asset


def blocked_tags(topic_id: str, offsets: Mapping[int, int]) -> dict[str, str]:
    """Return a run's tags for partitions that it blocks: no retry can ingest their next offset."""
    return {f"platform/blocked-{p}": f"{topic_id}:{offset}" for p, offset in offsets.items()}


def _ingest(
    context: dg.AssetExecutionContext,
    stream_asset: StreamAsset,
    config: IngestConfig,
    lake: Lake,
    topic: Topic,
) -> dict[str, Any]:
    """Ingest and return the metadata; blocked partitions become tags, for the sensor."""
    try:
        ranges = tuple(map(OffsetRange.parse, config.ranges))
    except ValueError as error:
        raise dg.Failure(f"config: {error}", allow_retries=False) from error
    topic_id, day = config.topic_id or topic.topic_id(), date.fromisoformat(context.partition_key)
    request = IngestRequest(topic_id, day, ranges, config.accept_loss)
    try:
        result = ingest(lake, topic, stream_asset.topic_table, request, _today())
    except PartitionsBlockedError as error:
        tags = blocked_tags(topic_id, error.offsets)
        context.instance.add_run_tags(context.run.run_id, tags)
        raise dg.Failure(
            f"{error}; to continue without these messages, launch this run again with "
            "accept_loss: true",
            allow_retries=False,
        ) from None  # an alert shows the innermost cause
    metadata = {
        "offsets": list(map(str, result.ranges)),
        "messages": result.messages,
        "rows_added": result.rows_added,
        "lost_offsets": result.lost_offsets,
        "unreadable": list(result.unreadable),
    }
    has_deletions = "op" in stream_asset.topic_table.contract.column_names
    return {**metadata, "deletions": result.deletions} if has_deletions else metadata


def _rebuild(
    context: dg.AssetExecutionContext,
    stream_asset: StreamAsset,
    _config: IngestConfig,
    lake: Lake,
    topic: Topic,
) -> dict[str, Any]:
    day = date.fromisoformat(context.partition_key)
    result = rebuild(lake, topic, stream_asset.topic_table, day, _today())
    return {
        "offsets": list(map(str, result.ranges)),
        "rebuilt_from": result.source,
        "rows_added": result.rows_added,
    }


def _today() -> date:
    return datetime.now(UTC).date()


def _topic(
    topic: str,
    writer: str,
    description: str,
    deps: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    """Return a topic as an external asset: no Dagster run writes it."""
    return dg.AssetSpec(
        topic_key(topic),
        deps=map(topic_key, deps),
        description=description,
        group_name=GROUPS["kafka"],
        kinds={writer, "kafka"},
        owners=[OWNER],
        metadata={**(metadata or {}), "dagster/table_name": topic},
    )


TOPICS = (
    _topic(
        CDC_TOPIC,
        "debezium",
        "Changes of the intake table, as Debezium reads them from the write-ahead log. Kept a "
        "week.",
        metadata=table_metadata(DIABETES_NEW),
    ),
    _topic(
        SINK_TOPIC,
        "flink",
        "The newest valid image of each patient, by Flink; a tombstone for a deleted one.",
        [CDC_TOPIC],
        table_metadata(DIABETES_NEW, {topic_key(CDC_TOPIC): DIABETES_NEW}),
    ),
    _topic(
        REJECTED_TOPIC,
        "flink",
        "Changes that violate the contract, and unreadable images: original bytes with all "
        "reasons. Kept a month.",
        [CDC_TOPIC, SINK_TOPIC],
    ),
    _topic(
        WINDOWED_TOPIC,
        "flink",
        "Counts and means of each minute of event time. Kept a month.",
        [CDC_TOPIC],
    ),
)


@dg.definitions
def stream() -> dg.Definitions:
    """Return the topics and the assets of their tables."""
    return dg.Definitions(assets=[*TOPICS, *map(build_stream_asset, STREAM_ASSETS)])
