"""The sensors that request an ingest run when a topic has unread offsets.

A tick compares the topic's offsets with those that the table has committed. It reads no message, so
its cost does not depend on the backlog, and it commits nothing at the broker. At most one run of a
job is queued or running.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from diabetes_platform.defs.stream.assets import (
    NO_STREAM,
    STREAM_ASSETS,
    StreamAsset,
    blocked_tags,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetRange
from diabetes_platform.orchestration.describe import topic_key
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import HealthIssue
from diabetes_platform.streaming.offsets import (
    Watermarks,
    first_unread_day,
    next_offsets,
    offsets_past_end,
    watermarks_of_deleted_topic,
)
from diabetes_platform.streaming.topic import Topic, open_topic

OBSERVATION_MS = 60_000
"""At most one observation of a topic a minute: each is an event in Dagster's database."""
STALLED_MINUTES = 15
"""The slowest sensor is evaluated every five minutes."""
RETRY_SECONDS = 60.0
"""A failed run is repeated at once; after two failures in a row a minute passes before the next."""
_FINISHED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]


class TopicSnapshot(BaseModel):
    """The topic at a tick; from `positions` to `ends`, the offsets of a partition are unread.

    It is the sensor's cursor. That is only needed if somebody deletes the topic: neither Kafka nor
    the table then knows which offsets were unread. `deleted` are the snapshots of such topics until
    somebody accepts the loss; the present topic is ingested meanwhile. `paused` has the problem of
    each partition that waits for an operator, for `stream_health`. Cursors of older releases lack
    the last two fields.
    """

    model_config = ConfigDict(frozen=True)

    topic: str
    topic_id: str
    positions: dict[int, int] = {}
    ends: dict[int, int] = {}
    observed_ms: int = 0
    deleted: tuple["TopicSnapshot", ...] = ()
    paused: dict[str, str] = {}

    @classmethod
    def parse(cls, cursor: str | None, topic: str) -> "TopicSnapshot | None":
        """Return the snapshot in a cursor; None if the text is no snapshot of this topic."""
        try:
            snapshot = cls.model_validate_json(cursor or "")
        except ValidationError:
            return None
        return snapshot if snapshot.topic == topic else None

    @property
    def unread(self) -> list[OffsetRange]:
        """The unread offsets of each partition that has any."""
        return [
            OffsetRange(partition, position, self.ends[partition] - 1)
            for partition, position in sorted(self.positions.items())
            if position < self.ends[partition]
        ]

    @property
    def lag(self) -> int:
        """The number of unread offsets, those of deleted topics included."""
        return sum(map(len, self.unread)) + sum(topic.lag for topic in self.deleted)

    def issues(self, sensor: str, now_ms: int) -> list[HealthIssue]:
        """Return why messages do not reach the lake: paused partitions, a stalled sensor."""
        issues = [
            HealthIssue(f"lake: {partition}", problem, urgent=True)
            for partition, problem in self.paused.items()
        ]
        minutes = (now_ms - self.observed_ms) // 60_000
        if self.observed_ms and minutes >= STALLED_MINUTES:
            problem = f"has not read {self.topic} for {minutes} minutes: its table does not grow"
            issues.append(HealthIssue(f"sensor {sensor}", problem))
        return issues


def build_increments(stream_asset: StreamAsset) -> dg.SensorDefinition:
    """Return the sensor of a topic's asset."""

    @dg.sensor(
        name=stream_asset.sensor,
        job_name=stream_asset.job,
        description=f"Requests a run when {stream_asset.topic} has offsets that the table has not "
        "ingested: one run at a time.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=stream_asset.sensor_seconds,
    )
    def increments(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.kafka_servers is None:
            return dg.SkipReason(NO_STREAM)
        lake = Lake(settings.lake, settings.s3)
        with open_topic(stream_asset.topic, settings.kafka_servers) as topic:
            return _tick(context, stream_asset, topic, lake, settings.kafka_servers)

    return increments


def _tick(
    context: dg.SensorEvaluationContext,
    stream_asset: StreamAsset,
    topic: Topic,
    lake: Lake,
    servers: str,
) -> dg.SensorResult:
    # Before the table is opened, so that the offsets of a run that ends meanwhile are included.
    reason = _wait_reason(context.instance, stream_asset)
    previous = TopicSnapshot.parse(context.cursor, topic.name)
    table = IncrementalTable.find(lake, stream_asset.topic_table.contract)
    snapshot, watermarks = _snapshot(topic, table, previous)
    request = None
    if reason is None:
        request, paused = _request(context.instance, stream_asset, snapshot, topic, watermarks)
        snapshot = snapshot.model_copy(update={"paused": snapshot.paused | paused})
        if request is None:
            reason = _text_of(snapshot.paused) or "nothing new"
    elif previous is not None:
        # They are not evaluated during a run.
        snapshot = snapshot.model_copy(update={"paused": previous.paused | snapshot.paused})
    events, observed_ms = [], 0 if previous is None else previous.observed_ms
    if (now_ms := time.time_ns() // 1_000_000) - observed_ms >= OBSERVATION_MS:
        events, observed_ms = _observations(stream_asset, servers, snapshot.lag), now_ms
    return dg.SensorResult(
        run_requests=[] if request is None else [request],
        skip_reason=reason,
        cursor=snapshot.model_copy(update={"observed_ms": observed_ms}).model_dump_json(),
        asset_events=events,
    )


def _snapshot(
    topic: Topic, table: IncrementalTable | None, previous: TopicSnapshot | None
) -> tuple[TopicSnapshot, Watermarks]:
    """Return the topic, and the watermarks of the partitions that can be ingested.

    A topic that was deleted before all of its offsets were ingested stays in `deleted` until they
    are; Kafka has none of them. A partition that ends before its committed offset is paused.
    """

    def committed(topic_id: str, partitions: Iterable[int]) -> dict[int, int]:
        return {} if table is None else table.committed_offsets(topic.name, topic_id, partitions)

    topic_id, watermarks = topic.topic_id(), topic.watermarks()
    deleted = [] if previous is None else list(previous.deleted)
    if previous is not None and previous.topic_id != topic_id:
        deleted.append(previous.model_copy(update={"deleted": (), "paused": {}}))
    remaining = (_remaining(topic, committed(topic.topic_id, topic.ends)) for topic in deleted)
    offsets = committed(topic_id, watermarks)
    lost = offsets_past_end(offsets, watermarks)
    paused = {
        f"{topic.name}-{partition}": f"ends at {watermarks[partition][1]}, but the next offset to "
        f"ingest is {offset}: the broker has lost messages"
        for partition, offset in lost.items()
    }
    watermarks = {p: marks for p, marks in watermarks.items() if p not in lost}
    snapshot = TopicSnapshot(
        topic=topic.name,
        topic_id=topic_id,
        positions=next_offsets(topic.name, offsets, watermarks),
        ends={p: high for p, (_, high) in watermarks.items()},
        deleted=tuple(topic for topic in remaining if topic.unread),
        paused=paused,
    )
    return snapshot, watermarks


def _remaining(topic: TopicSnapshot, committed: Mapping[int, int]) -> TopicSnapshot:
    """Return a deleted topic with the positions that the table has committed since."""
    positions = {
        partition: committed[partition] + 1
        if partition in committed
        else topic.positions.get(partition, 0)
        for partition in topic.ends
    }
    return topic.model_copy(update={"positions": positions})


def _text_of(paused: Mapping[str, str]) -> str:
    return "; ".join(f"{partition} {problem}" for partition, problem in paused.items())


def _wait_reason(instance: dg.DagsterInstance, stream_asset: StreamAsset) -> str | None:
    """Return why no run may start now (one is unfinished, or the last two failed), or None."""
    unfinished_runs = dg.RunsFilter(job_name=stream_asset.job, statuses=UNFINISHED)
    for run in instance.get_runs(unfinished_runs, limit=1):
        return f"run {run.run_id} is {run.status.value.lower()}"
    requested_runs = dg.RunsFilter(
        job_name=stream_asset.job, tags={"dagster/sensor_name": stream_asset.sensor}
    )
    records = instance.get_run_records(requested_runs, limit=2)
    failed = [r for r in records if r.dagster_run.status is dg.DagsterRunStatus.FAILURE]
    if len(failed) < 2:  # noqa: PLR2004 - the two latest runs
        return None
    seconds = (failed[0].end_time or 0) + RETRY_SECONDS - time.time()
    if seconds <= 0:
        return None
    return f"the last two runs failed: the next one starts in {seconds:.0f} s"


def _request(
    instance: dg.DagsterInstance,
    stream_asset: StreamAsset,
    snapshot: TopicSnapshot,
    topic: Topic,
    watermarks: Watermarks,
) -> tuple[dg.RunRequest | None, dict[str, str]]:
    """Return the run to start, if any, and the problem of each paused partition.

    A run for unread offsets of a deleted topic comes first: it fails, which records its partitions
    as blocked, and the next run ingests the present topic.
    """
    paused: dict[str, str] = {}
    requests: list[tuple[str, date, list[OffsetRange]]] = []
    today = datetime.now(UTC).date()
    candidates = [(d, watermarks_of_deleted_topic(d.ends), d.topic_id) for d in snapshot.deleted]
    for candidate, marks, deleted_id in [*candidates, (snapshot, watermarks, None)]:
        blocking = _blocking_runs(instance, stream_asset, candidate)
        suffix = f" of the deleted topic {deleted_id}" if deleted_id else ""
        paused |= {
            f"{topic.name}-{partition}{suffix}": "is blocked at its next offset "
            f"{candidate.positions[partition]}: see the failed run {run_id}"
            for partition, run_id in blocking.items()
        }
        positions = {p: offset for p, offset in candidate.positions.items() if p not in blocking}
        if not requests and (unread := first_unread_day(positions, marks, topic.day_starts, today)):
            requests.append((candidate.topic_id, *unread))
    if not requests:
        return None, paused
    topic_id, day, ranges = requests[0]
    config = {"topic_id": topic_id, "ranges": list(map(str, ranges))}
    # No run key: after a failure, Dagster would not launch a second run with the same key.
    request = dg.RunRequest(
        partition_key=day.isoformat(),
        run_config={"ops": {stream_asset.key.to_python_identifier(): {"config": config}}},
    )
    return request, paused


def _blocking_runs(
    instance: dg.DagsterInstance, stream_asset: StreamAsset, snapshot: TopicSnapshot
) -> dict[int, str]:
    """Return the id of the failed run that blocks a partition, by partition.

    A run blocks a partition while the partition's next offset is the one it could not ingest.
    """
    blocking: dict[int, str] = {}
    for offsets in snapshot.unread:
        tags = blocked_tags(snapshot.topic_id, {offsets.partition: offsets.first})
        blocking_runs = dg.RunsFilter(job_name=stream_asset.job, tags=tags)
        for run in instance.get_runs(blocking_runs, limit=1):
            blocking[offsets.partition] = run.run_id
    return blocking


def _observations(stream_asset: StreamAsset, servers: str, lag: int) -> list[dg.AssetObservation]:
    """Return the offsets of each observed topic; the lag is that of the asset's own topic."""
    observations = []
    for name in (stream_asset.topic, *stream_asset.observed_topics):
        with open_topic(name, servers) as topic:
            watermarks = topic.watermarks()
        metadata: dict[str, Any] = {
            "end_offsets": {str(partition): high for partition, (_, high) in watermarks.items()},
            "offsets_kept": sum(high - low for low, high in watermarks.values()),
        }
        if name == stream_asset.topic:
            metadata["lag"] = lag
        observations.append(dg.AssetObservation(topic_key(name), metadata=metadata))
    return observations


def lake_issues(instance: dg.DagsterInstance, now_ms: int) -> list[HealthIssue]:
    """Return why messages do not reach the lake, according to the cursors of the sensors."""
    # An ephemeral instance keeps no cursors.
    if instance.schedule_storage is None:
        return []
    cursors = {
        state.instigator_name: getattr(state.instigator_data, "cursor", None)
        for state in instance.all_instigator_state()
    }
    snapshots = (
        (asset.sensor, TopicSnapshot.parse(cursors.get(asset.sensor), asset.topic))
        for asset in STREAM_ASSETS
    )
    return [
        issue
        for sensor, snapshot in snapshots
        if snapshot is not None
        for issue in snapshot.issues(sensor, now_ms)
    ]


@dg.definitions
def increments() -> dg.Definitions:
    """Return the sensors of all topics."""
    return dg.Definitions(sensors=[build_increments(asset) for asset in STREAM_ASSETS])
