"""The sensors that alert on unhealthy services of the stream, and on records that it rejects."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.clients.alert_channels import Alert
from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.contract.topics import REJECTED_TOPIC
from diabetes_platform.defs.alerts.incident_alerts import (
    POLL_SECONDS,
    State,
    incident_alert,
    issue_summary,
    track_incidents,
)
from diabetes_platform.defs.stream.assets import NO_STREAM
from diabetes_platform.defs.stream.sensors import lake_issues
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.rejected_patients import rejected_patients
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.dead_letters import (
    REJECTION_POLICY,
    poll_dead_letters,
    rejection_issues,
)
from diabetes_platform.streaming.incidents import (
    OUTAGE_POLICY,
    HealthIssue,
    Incident,
    IncidentCursor,
)
from diabetes_platform.streaming.recorded_issues import recorded_issues

if TYPE_CHECKING:
    from diabetes_platform.streaming.offset_gaps import GapState, GroupPoll

SlotProgress = tuple[int, int] | None
_SLOT_PROGRESS = "slot_progress"
_CONNECT_SECONDS = 5.0
WAITING_AGE = timedelta(minutes=1)
"""Younger changes are on their way through the stream."""


@dg.sensor(
    description="Sends an alert if the supervisor, the connector, the stream's job, the "
    "predictor's partitions or lag or the replication slot is unhealthy for a minute, and another "
    "one when it has recovered. It alerts at once if the stream's job sets a checkpoint aside, if "
    "a partition no longer reaches the lake, or if the server that the connector reads was "
    "replaced, and then starts a new snapshot.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def stream_health(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the services and alert on incidents that opened or were resolved."""
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    now_ms, cursor = time.time_ns() // 1_000_000, IncidentCursor.from_json(context.cursor)
    issues = [*poll_health(settings), *lake_issues(context.instance, now_ms)]
    state: dict[str, SlotProgress] = {}
    if settings.warehouse_url is not None:
        warehouse_url = settings.warehouse_url.get_secret_value()
        previous = cursor.state.get(_SLOT_PROGRESS)
        state[_SLOT_PROGRESS], slot_problems = poll_slot(warehouse_url, previous, now_ms)
        issues += slot_problems
        if settings.connect_url is not None:
            issues += capture_issues(settings.connect_url, warehouse_url, now_ms)
    track_incidents(context, settings, cursor, issues, OUTAGE_POLICY, now_ms=now_ms, state=state)
    return dg.SkipReason(issue_summary(issues) or "all services of the stream are healthy")


def poll_health(settings: PlatformSettings) -> list[HealthIssue]:
    """Return the issues of those services of the stream whose addresses are set.

    `poll_slot` has those of PostgreSQL.
    """
    from diabetes_platform.streaming.health import (
        assignment_issues,
        connector_issues,
        job_issues,
        lag_issues,
        supervisor_issues,
    )

    issues = recorded_issues(settings.recorded_issues, time.time_ns() // 1_000_000)
    if settings.supervisor_socket is not None:
        issues += supervisor_issues(settings.supervisor_socket)
    if settings.connect_url is not None:
        issues += connector_issues(settings.connect_url)
    if settings.flink_url is not None:
        issues += job_issues(settings.flink_url)
    if settings.kafka_servers is not None:
        issues += lag_issues(settings.kafka_servers)
        issues += assignment_issues(settings.kafka_servers)
    return issues


def poll_slot(
    warehouse_url: str, previous: SlotProgress, now_ms: int
) -> tuple[SlotProgress, list[HealthIssue]]:
    """Return the progress of the replication slot, and an issue if it is unhealthy or stalled."""
    import psycopg

    from diabetes_platform.warehouse.connection import connected
    from diabetes_platform.warehouse.replication import (
        SLOT,
        read_slot,
        slot_progress,
        slot_warning,
        stall_problem,
    )

    try:
        with connected(warehouse_url) as connection:
            slot = read_slot(connection)
            problem = slot_warning(slot, connection.info.dbname)
    except psycopg.OperationalError:
        return previous, [HealthIssue("PostgreSQL", "does not answer")]
    progress = slot_progress(previous, slot, now_ms)
    urgent = slot is None or slot.lost or slot.behind < 0
    # Another problem of the slot explains why nothing advances.
    if problem is None:
        problem, urgent = stall_problem(progress, slot, now_ms), False
    if problem is None:
        return progress, []
    subject = f"replication slot {SLOT}"
    text = problem.removeprefix(subject).strip()
    return progress, [HealthIssue(subject, text, urgent=urgent)]


def capture_issues(connect_url: str, warehouse_url: str, now_ms: int) -> list[HealthIssue]:
    """Return an urgent issue if the connector's server was replaced; then start a new snapshot.

    The issue lasts ten minutes, also if `make up` has started the snapshot.
    """
    import psycopg

    from diabetes_platform.clients.connect import ConnectApi
    from diabetes_platform.clients.errors import ServiceError
    from diabetes_platform.contract.topics import CONNECTOR
    from diabetes_platform.warehouse import capture
    from diabetes_platform.warehouse.connection import connected

    api = ConnectApi(connect_url, seconds=_CONNECT_SECONDS)
    try:
        if (config := api.config(CONNECTOR)) is None:
            return []
        offset_lsn = api.offset_lsn(CONNECTOR)
        with connected(warehouse_url) as connection:
            server = capture.read_position(connection)
    except (ServiceError, psycopg.OperationalError):
        return []  # the other checks report it
    subject = "change data capture"
    reason = capture.replacement(config, offset_lsn, server)
    if reason is not None:
        epoch = capture.next_capture(config, server, reason, now_ms)
        try:
            capture.start_epoch(api, CONNECTOR, config, epoch)
        except (ServiceError, TimeoutError) as error:
            problem = f"must start again ({reason}), but the connector does not: {error}"
            return [HealthIssue(subject, problem, urgent=True)]
    else:
        epoch = capture.current_capture(config, server)
    if not epoch.started_recently(now_ms):
        return []
    problem = f"started again with a snapshot, epoch {epoch.epoch}: {epoch.reason}"
    return [HealthIssue(subject, problem, first_ms=epoch.started, urgent=True)]


@dg.sensor(
    description="Sends an alert if Kafka removed messages before Flink or the predictor read them, "
    "and emits the affected patients again from the intake table; another alert once they have "
    "their answers.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def offset_gaps(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the committed offsets, alert on gaps, and repair those that are safe to repair."""
    if settings.kafka_servers is None or settings.warehouse_url is None:
        return dg.SkipReason(NO_STREAM)
    from diabetes_platform.streaming.offset_gaps import GapState, poll_groups, update_gaps

    now_ms, cursor = time.time_ns() // 1_000_000, IncidentCursor.from_json(context.cursor)
    polls = poll_groups(settings.kafka_servers)
    state = update_gaps(GapState.model_validate(cursor.state), polls, now_ms)
    repaired = _repair_gaps(context, settings, state, polls, now_ms)
    track_incidents(
        context,
        settings,
        cursor,
        # Also of a gap that this poll has closed.
        [gap.issue for gap in state.gaps],
        OUTAGE_POLICY,
        now_ms=now_ms,
        state=repaired.model_dump(mode="json"),
    )
    return dg.SkipReason(f"{len(repaired.gaps)} open offset gaps")


def _repair_gaps(
    context: dg.SensorEvaluationContext,
    settings: PlatformSettings,
    state: "GapState",
    polls: Sequence["GroupPoll"],
    now_ms: int,
) -> "GapState":
    """Emit affected patients again; return the state without the gaps that are closed."""
    from diabetes_platform.streaming.offset_gaps import GapState, next_step, settled
    from diabetes_platform.warehouse.intake import emit_again, waiting_patients

    if not state.gaps or settings.warehouse_url is None or not settled(polls):
        return state
    url, limit = settings.warehouse_url.get_secret_value(), settings.repair_limit
    try:
        rejected = rejected_patients(Lake(settings.lake, settings.s3))
    except (LakeError, StorageError) as error:
        # They are only emitted once more: a damaged lake delays no repair.
        context.log.warning("rejected patients cannot be read: %s", error)
        rejected = {}
    waiting = waiting_patients(url, WAITING_AGE, limit + 1, rejected).ids
    steps = {gap: next_step(gap, len(waiting), limit, now_ms) for gap in state.gaps}
    emitted = emit_again(url, waiting) if "emit" in steps.values() else 0
    gaps = []
    for gap, step in steps.items():
        if step == "emit":
            context.log.warning("%s: emitted %d patients again", gap.issue.subject, emitted)
            gaps.append(gap.model_copy(update={"emitted": emitted, "emitted_ms": now_ms}))
        elif step != "close":
            gaps.append(gap)
    return GapState(groups=state.groups, gaps=tuple(gaps))


@dg.sensor(
    description="Sends an alert when the stream starts to reject records for a reason, and another "
    "one after five minutes without further rejections.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def rejection_alerts(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the dead letters and alert on incidents that opened or were resolved.

    It reads only the headers of the dead-letter topic and commits no offsets.
    """
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    now_ms = time.time_ns() // 1_000_000
    cursor = IncidentCursor.from_json(context.cursor)
    poll = poll_dead_letters(settings.kafka_servers, cursor.offsets, now_ms)
    incidents = track_incidents(
        context,
        settings,
        cursor,
        rejection_issues(poll.letters),
        REJECTION_POLICY,
        now_ms=now_ms,
        offsets=poll.offsets,
        describe=rejection_alert,
    )
    return dg.SkipReason(f"{len(poll.letters)} new dead letters, {len(incidents)} open incidents")


def rejection_alert(state: State, incidents: Sequence[Incident], dagster_url: str) -> list[Alert]:
    """Return one alert for the incidents that changed in a poll: counts by reason, no values."""
    if not incidents:
        return []
    reasons = {incident.subject: incident.count for incident in incidents}
    counts = ", ".join(f"{reason} ({count} records)" for reason, count in reasons.items())
    if state == "resolved":
        text = f"resolved: the stream no longer rejects records for {counts}"
    else:
        text = f"the stream rejects records: {counts}; topic {REJECTED_TOPIC} has them"
    positions = ", ".join(f"{incident.subject} at {incident.problem}" for incident in incidents)
    return [
        incident_alert(state, positions, text, dagster_url, topic=REJECTED_TOPIC, reasons=reasons)
    ]
