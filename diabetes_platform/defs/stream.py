"""`stream/patients`, what the stream let through by days, and the topics that it comes from."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from diabetes_platform.contract.events import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.contract.tables import DIABETES_NEW, STREAM_PATIENTS
from diabetes_platform.defs.describe import (
    OWNER,
    STREAM,
    STREAM_POOL,
    asset_options,
    table_metadata,
    topic_key,
)
from diabetes_platform.defs.refusals import refusals
from diabetes_platform.defs.retries import retried
from diabetes_platform.lake.increments import count_rows
from diabetes_platform.lake.tables import Lake
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.images import UnreadableError
from diabetes_platform.streaming.increments import (
    IncrementOrderError,
    IncrementRefusedError,
    Part,
    bring,
)
from diabetes_platform.streaming.ranges import FIRST_DAY, Increment, Range, parse_range
from diabetes_platform.streaming.rebuild import DayLostError, rebuild
from diabetes_platform.streaming.topic import RangeGoneError, Topic, opened

REFUSED_TAG = "platform/refused"
"""Of a failed run: the partitions of the topic in which another try would fail again."""
NO_STREAM = "PLATFORM_KAFKA_SERVERS: given nothing, so there is no stream to look at"
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1)
"""Today's too: it is filled while it lasts."""


class IncrementConfig(dg.Config):
    """Which offsets to add, as the sensor says it; without ranges the whole day is rebuilt."""

    topic_id: str = Field(default="", description="Kafka's id of the topic that they are of.")
    ranges: list[str] = Field(default=[], description="`partition:first-last`, one a partition.")
    accept_loss: bool = Field(
        default=False,
        description="Go on without messages that Kafka has deleted or that cannot be read.",
    )


@dg.asset(
    **asset_options(STREAM, {"python", "kafka", "deltalake"}, STREAM_POOL),
    partitions_def=DAYS,
    deps=[topic_key(SINK_TOPIC)],
    description="Every change that the stream let through, deletions too, by the day (UTC) on "
    "which Flink wrote it. Each change once; its commit says which offsets the table has.",
    metadata=table_metadata(STREAM_PATIENTS, {topic_key(SINK_TOPIC): DIABETES_NEW}),
)
@retried
def stream_patients(
    context: dg.AssetExecutionContext,
    config: IncrementConfig,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """Add a range of offsets, or rebuild a day."""
    if settings.kafka_servers is None:
        raise dg.Failure(NO_STREAM, allow_retries=False)
    day = date.fromisoformat(context.partition_key)
    with (
        refusals(IncrementOrderError, DayLostError, RangeGoneError, UnreadableError),
        opened(SINK_TOPIC, settings.kafka_servers) as topic,
    ):
        if not config.ranges:
            found = rebuild(lake, topic, day, datetime.now(UTC).date())
            ranges: tuple[Range, ...] = found.ranges
            told: dict[str, Any] = {"rebuilt_from": found.source, "rows_added": found.added}
        else:
            ranges = _ranges(config)
            topic_id = config.topic_id or topic.topic_id()
            increment = Increment(SINK_TOPIC, topic_id, day, ranges)
            accept_loss = config.accept_loss
            told = _sums(_bring(context, lake, topic, increment, accept_loss=accept_loss))
    context.log.info("%s: %s", ", ".join(map(str, ranges)), told)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": count_rows(lake, day.isoformat()),
            "dagster/uri": lake.table(STREAM_PATIENTS).path,
            "delta_version": lake.table(STREAM_PATIENTS).version(),
            "topic": SINK_TOPIC,
            "offsets": [str(each) for each in ranges],
            **told,
        }
    )


def _ranges(config: IncrementConfig) -> tuple[Range, ...]:
    try:
        return tuple(map(parse_range, config.ranges))
    except ValueError as error:
        raise dg.Failure(f"config: {error}", allow_retries=False) from error


def _bring(
    context: dg.AssetExecutionContext,
    lake: Lake,
    topic: Topic,
    increment: Increment,
    *,
    accept_loss: bool,
) -> tuple[Part, ...]:
    """Add the increment; a refusal is also told to the sensor, by a tag."""
    try:
        return bring(lake, topic, increment, accept_loss=accept_loss)
    except IncrementRefusedError as error:
        partitions = ",".join(map(str, sorted(error.partitions)))
        context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: partitions})
        raise dg.Failure(
            f"{error}; to go on without them, launch this run again with accept_loss: true",
            allow_retries=False,
        ) from None  # an alert shows the innermost cause


def _sums(parts: tuple[Part, ...]) -> dict[str, Any]:
    unreadable = [place for part in parts for place in part.unreadable]
    return {
        "messages": sum(part.messages for part in parts),
        "rows_added": sum(part.rows for part in parts),
        "deletions": sum(part.deletions for part in parts),
        "lost_offsets": sum(part.lost for part in parts),
        "unreadable": unreadable,
    }


def build_topics() -> list[dg.AssetSpec]:
    """Return the topics of the stream: what writes them is no run of Dagster's."""
    cdc, sink = topic_key(CDC_TOPIC), topic_key(SINK_TOPIC)
    return [
        _topic(
            CDC_TOPIC,
            {"debezium", "kafka"},
            "Changes of the intake table, as Debezium reads them from the write-ahead log. A week.",
            metadata=table_metadata(DIABETES_NEW),
        ),
        _topic(
            SINK_TOPIC,
            {"flink", "kafka"},
            "The newest valid image of each patient, by Flink; a tombstone of a deleted one.",
            [cdc],
            metadata=table_metadata(DIABETES_NEW, {cdc: DIABETES_NEW}),
        ),
        _topic(
            REJECTED_TOPIC,
            {"flink", "kafka"},
            "Changes that break the contract, and images that could not be read: original bytes "
            "with all reasons. A month.",
            [cdc, sink],
        ),
        _topic(
            WINDOWED_TOPIC,
            {"flink", "kafka"},
            "Counts and means of each minute of event time. A month.",
            [cdc],
        ),
    ]


def _topic(
    topic: str,
    kinds: set[str],
    description: str,
    deps: Sequence[dg.AssetKey] = (),
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    key = topic_key(topic)
    return dg.AssetSpec(
        key,
        deps=deps,
        description=description,
        group_name=key.path[0],
        kinds=kinds,
        owners=[OWNER],
        metadata={**(metadata or {}), "dagster/table_name": topic},
    )
