"""`stream/…`: what the stream wrote to a topic, by days; one asset for each topic that is kept."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.defs.stream.feeds import FEEDS, Feed
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import count_rows
from diabetes_platform.orchestration.describe import asset_options, table_metadata, topic_key
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.retries import retried
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.increments import (
    Brought,
    IncrementOrderError,
    IncrementRefusedError,
    bring,
)
from diabetes_platform.streaming.messages import UnreadableError
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


def build_stream_assets(feeds: Iterable[Feed] = FEEDS) -> list[dg.AssetsDefinition]:
    """Return the assets that the topics become."""
    return [_asset(feed) for feed in feeds]


def _asset(feed: Feed) -> dg.AssetsDefinition:
    table, topic = feed.destination.grown.table, topic_key(feed.topic)
    options = asset_options(feed.key, {"python", "kafka", "deltalake"}, feed.pool)

    @dg.asset(
        **{**options, "freshness_policy": feed.freshness},
        partitions_def=DAYS,
        deps=[topic],
        description=feed.description,
        metadata=table_metadata(table, {topic: DIABETES_NEW}),
    )
    @retried
    def stream_table(
        context: dg.AssetExecutionContext,
        config: IncrementConfig,
        settings: dg.ResourceParam[PlatformSettings],
        lake: dg.ResourceParam[Lake],
    ) -> dg.MaterializeResult:
        """Add a range of offsets, or rebuild a day."""
        if settings.kafka_servers is None:
            raise dg.Failure(NO_STREAM, allow_retries=False)
        with (
            refusals(IncrementOrderError, DayLostError, RangeGoneError, UnreadableError),
            opened(feed.topic, settings.kafka_servers) as opened_topic,
        ):
            ranges, told = _filled(context, feed, config, lake, opened_topic)
        context.log.info("%s: %s", ", ".join(map(str, ranges)), told)
        day = context.partition_key
        return dg.MaterializeResult(
            metadata={
                **_state(feed, lake, day),
                "offsets": [str(each) for each in ranges],
                **told,
                **feed.told(lake, day),
            }
        )

    made: dg.AssetsDefinition = stream_table
    return made


def _state(feed: Feed, lake: Lake, day: str) -> dict[str, Any]:
    """Describe the table as it is now, and how much of it is the day's."""
    grown = feed.destination.grown
    target = lake.table(grown.table)
    return {
        "dagster/partition_row_count": count_rows(lake, day, grown),
        "dagster/uri": target.path,
        "delta_version": target.version(),
        "topic": feed.topic,
    }


def _filled(
    context: dg.AssetExecutionContext,
    feed: Feed,
    config: IncrementConfig,
    lake: Lake,
    topic: Topic,
) -> tuple[tuple[Range, ...], dict[str, Any]]:
    """Add the ranges of `config`, or rebuild the day; return what was read and what came of it."""
    day = date.fromisoformat(context.partition_key)
    if not config.ranges:
        found = rebuild(lake, topic, feed.destination, day, datetime.now(UTC).date())
        return found.ranges, {"rebuilt_from": found.source, "rows_added": found.added}
    ranges = _ranges(config)
    increment = Increment(feed.topic, config.topic_id or topic.topic_id(), day, ranges)
    brought = _bring(context, feed, lake, topic, increment, accept_loss=config.accept_loss)
    return ranges, _sums(feed, brought)


def _ranges(config: IncrementConfig) -> tuple[Range, ...]:
    try:
        return tuple(map(parse_range, config.ranges))
    except ValueError as error:
        raise dg.Failure(f"config: {error}", allow_retries=False) from error


def _bring(
    context: dg.AssetExecutionContext,
    feed: Feed,
    lake: Lake,
    topic: Topic,
    increment: Increment,
    *,
    accept_loss: bool,
) -> Brought:
    """Add the increment; a refusal is also told to the sensor, by a tag."""
    try:
        return bring(lake, topic, feed.destination, increment, accept_loss=accept_loss)
    except IncrementRefusedError as error:
        partitions = ",".join(map(str, sorted(error.partitions)))
        context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: partitions})
        raise dg.Failure(
            f"{error}; to go on without them, launch this run again with accept_loss: true",
            allow_retries=False,
        ) from None  # an alert shows the innermost cause


def _sums(feed: Feed, brought: Brought) -> dict[str, Any]:
    parts = brought.parts
    told: dict[str, Any] = {
        "messages": sum(part.messages for part in parts),
        "rows_added": brought.rows,
        "lost_offsets": sum(part.lost for part in parts),
        "unreadable": [place for part in parts for place in part.unreadable],
    }
    if "op" in feed.destination.grown.table.column_names:
        told["deletions"] = sum(part.deletions for part in parts)
    return told


@dg.definitions
def stream() -> dg.Definitions:
    """Return the assets of all feeds."""
    return dg.Definitions(assets=build_stream_assets(FEEDS))
