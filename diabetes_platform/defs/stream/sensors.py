"""The sensors that turn what is new in a topic into runs of the job of its asset.

A tick asks for offsets and reads no message, so that its cost is the same for any backlog. It
commits nothing to the broker: the cursor says what is on its way, the table what has arrived.
"""

import time
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from diabetes_platform.defs.stream.assets import NO_STREAM, REFUSED_TAG
from diabetes_platform.defs.stream.feeds import FEEDS, Feed
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.increments import committed_offsets
from diabetes_platform.orchestration.describe import topic_key
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.progress import (
    Outcome,
    Progress,
    ask,
    follow_topic,
    read_cursor,
    settle,
    write_cursor,
)
from diabetes_platform.streaming.ranges import Increment
from diabetes_platform.streaming.topic import Topic, opened

_OBSERVE_MS = 60_000
"""So often may a topic's asset say how far it is: each time is an event that is kept."""


def build_increments(feed: Feed) -> dg.SensorDefinition:
    """Return the sensor of a topic's asset."""

    @dg.sensor(
        name=feed.sensor,
        job_name=feed.job,
        description=f"Asks for a run over the offsets of {feed.topic} that are not in the lake "
        "yet: at most one at work and one waiting.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=feed.seconds,
    )
    def increments(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.kafka_servers is None:
            return dg.SkipReason(NO_STREAM)
        with opened(feed.topic, settings.kafka_servers) as topic:
            wanted, progress = _tick(context, feed, topic, Lake(settings.lake, settings.s3))
        now_ms = _now_ms()
        events = []
        if now_ms - progress.observed_ms >= _OBSERVE_MS:
            events = _observations(feed, progress, settings.kafka_servers)
            progress = replace(progress, observed_ms=now_ms)
        keys = [pending.run_key for pending in progress.pending[-len(wanted) :]]
        return dg.SensorResult(
            run_requests=[_request(feed, *each) for each in zip(wanted, keys, strict=False)],
            skip_reason=None if wanted else _why_nothing(progress, now_ms),
            cursor=write_cursor(progress),
            asset_events=events,
        )

    return increments


def _tick(
    context: dg.SensorEvaluationContext, feed: Feed, topic: Topic, lake: Lake
) -> tuple[tuple[Increment, ...], Progress]:
    topic_id, ends, now_ms = topic.topic_id(), topic.ends(), _now_ms()
    start = Progress(topic.name, topic_id)
    progress = read_cursor(context.cursor, topic.name) if context.cursor else start
    keys = [one.run_key for one in progress.pending]
    outcomes = {key: outcome(context.instance, feed.sensor, key) for key in keys}
    committed = progress.committed
    ended = any(one.state == "ended" for one in outcomes.values())
    if ended or progress.held or not context.cursor:
        partitions = progress.positions.keys() | ends.keys()
        grown = feed.destination.grown
        committed = committed_offsets(lake, topic.name, progress.topic_id, partitions, grown)
    progress = settle(progress, outcomes, committed, now_ms)
    progress = follow_topic(progress, topic_id, ends)
    most = feed.destination.most_messages
    return ask(progress, topic_id, ends, topic.begins, _today(), now_ms, most)


def outcome(instance: dg.DagsterInstance, sensor: str, run_key: str) -> Outcome:
    """Return what became of the run; one that is not there any more has ended."""
    tags = {"dagster/run_key": run_key, "dagster/sensor_name": sensor}
    runs = instance.get_runs(dg.RunsFilter(tags=tags))
    if any(not run.is_finished for run in runs):
        return Outcome("under way")
    refused = [run.tags.get(REFUSED_TAG, "") for run in runs]
    partitions = (int(number) for text in refused for number in text.split(",") if number)
    return Outcome("ended", frozenset(partitions))


def _request(feed: Feed, increment: Increment, run_key: str) -> dg.RunRequest:
    config = {
        "topic_id": increment.topic_id,
        "ranges": [str(each) for each in increment.ranges],
    }
    return dg.RunRequest(
        run_key=run_key,
        partition_key=increment.day.isoformat(),
        run_config={"ops": {feed.key.to_python_identifier(): {"config": config}}},
    )


def _why_nothing(progress: Progress, now_ms: int) -> str:
    waiting = sum(len(each) for one in progress.pending for each in one.ranges)
    said = [f"{waiting} messages on their way" if waiting else "nothing new"]
    said += [
        f"{progress.topic}-{partition} is held at offset {progress.positions[partition]}: its run "
        "failed for good and says why"
        for partition in sorted(progress.held)
    ]
    if now_ms < progress.not_before_ms:
        said.append(f"{progress.failures} runs failed in a row: the next one waits")
    return "; ".join(said)


def _observations(feed: Feed, progress: Progress, servers: str) -> list[dg.AssetObservation]:
    """Return how far each topic is; of the feed's own also what is not in the lake yet."""
    unread = sum(end - progress.positions.get(p, end) for p, end in progress.ends.items())
    on_their_way = sum(len(each) for one in progress.pending for each in one.ranges)
    found = []
    for name in (feed.topic, *feed.observed):
        with opened(name, servers) as topic:
            ends = topic.ends()
        metadata: dict[str, Any] = {
            "end_offsets": {str(partition): high for partition, (_, high) in ends.items()},
            "offsets_kept": sum(high - low for low, high in ends.values()),
        }
        if name == feed.topic:
            metadata["lag"] = unread + on_their_way
        found.append(dg.AssetObservation(topic_key(name), metadata=metadata))
    return found


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _today() -> date:
    return datetime.now(UTC).date()


@dg.definitions
def increments() -> dg.Definitions:
    """Return the sensors of all feeds."""
    return dg.Definitions(sensors=[build_increments(feed) for feed in FEEDS])
