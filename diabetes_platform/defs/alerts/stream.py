"""The sensors that alert on unhealthy services of the stream, and on records that it rejects."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
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
_STARTING = "starting"
"""In the server's state if an epoch was about to start at the previous poll."""
_SERVER = "server"
_CONNECT_SECONDS = 5.0


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
    state: dict[str, object] = {}
    if settings.warehouse_url is not None:
        warehouse_url = settings.warehouse_url.get_secret_value()
        previous = cursor.state.get(_SLOT_PROGRESS)
        state[_SLOT_PROGRESS], slot_problems = poll_slot(warehouse_url, previous, now_ms)
        issues += slot_problems
        if settings.connect_url is not None:
            server = cursor.state.get(_SERVER)
            state[_SERVER], replaced = capture_issues(
                settings.connect_url, warehouse_url, server, now_ms
            )
            issues += replaced
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


def capture_issues(
    connect_url: str, warehouse_url: str, previous: Mapping[str, int] | None, now_ms: int
) -> tuple[Mapping[str, int] | None, list[HealthIssue]]:
    """Return the server's position and epoch, and an urgent issue if the server was replaced.

    It then starts a new snapshot, or continues with one whose start was interrupted. The issue
    lasts ten minutes, also if `make up` has started the snapshot. `previous` is what the previous
    poll returned; it stays until the new snapshot has started.
    """
    import psycopg

    from diabetes_platform.clients.connect import STOPPED, ConnectApi
    from diabetes_platform.clients.errors import ServiceError
    from diabetes_platform.contract.topics import CONNECTOR
    from diabetes_platform.warehouse import capture
    from diabetes_platform.warehouse.connection import connected

    api = ConnectApi(connect_url, seconds=_CONNECT_SECONDS)
    try:
        if (config := api.config(CONNECTOR)) is None:
            return previous, []
        offset_lsn = api.offset_lsn(CONNECTOR)
        with connected(warehouse_url) as connection:
            server = capture.read_position(connection)
    except (ServiceError, psycopg.OperationalError):
        return previous, []  # the other checks report it
    reason = capture.replacement(config, offset_lsn, server)
    epoch = capture.current_capture(config, server)
    if not epoch.server and (previous is None or _STARTING not in previous):
        # `make up` may be about to start this epoch. Otherwise the next poll continues it.
        return {**(previous or {}), _STARTING: 1}, []
    if reason is None and previous is not None and previous.get("epoch") == epoch.epoch:
        reason = capture.restored(previous["lsn"], previous["started"], server)
    if reason is not None:
        epoch = capture.next_capture(config, server, reason, now_ms)
    # Each epoch is an incident of its own: another one may still be open.
    subject = f"change data capture (epoch {epoch.epoch})"
    try:
        if reason is not None:
            capture.start_epoch(api, CONNECTOR, config, epoch)
        elif epoch.started_recently(now_ms) and api.state(CONNECTOR).connector == STOPPED:
            # The start of the epoch was interrupted after its last step but one.
            api.resume(CONNECTOR)
    except (ServiceError, TimeoutError) as error:
        cause = reason or epoch.reason
        problem = f"must start again ({cause}), but the connector does not: {error}"
        return previous, [HealthIssue(subject, problem, urgent=True)]
    position = {"epoch": epoch.epoch, "lsn": server.lsn, "started": server.started}
    if not epoch.started_recently(now_ms):
        return position, []
    problem = f"started again with a snapshot: {epoch.reason}"
    return position, [HealthIssue(subject, problem, first_ms=epoch.started, urgent=True)]


@dg.sensor(
    description="Sends an alert if Kafka removed messages before Flink or the predictor read them, "
    "and emits all patients and lost deletions again from the intake table; another alert once "
    "they have their answers.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=POLL_SECONDS,
)
def offset_gaps(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Poll the committed offsets, alert on gaps, and repair them."""
    if settings.kafka_servers is None or settings.warehouse_url is None:
        return dg.SkipReason(NO_STREAM)
    import psycopg
    from confluent_kafka import KafkaException

    from diabetes_platform.streaming.offset_gaps import GapState, poll_groups, update_gaps

    now_ms, cursor = time.time_ns() // 1_000_000, IncidentCursor.from_json(context.cursor)
    try:
        polls = poll_groups(settings.kafka_servers)
    except KafkaException as error:
        # The sensor stream_health reports it.
        return dg.SkipReason(f"Kafka does not answer: {error.args[0].str()}")
    state = update_gaps(GapState.model_validate(cursor.state), polls, now_ms)
    # Before the repair, which needs PostgreSQL.
    issues = [gap.issue for gap in state.gaps]
    incidents = track_incidents(
        context,
        settings,
        cursor,
        issues,
        OUTAGE_POLICY,
        now_ms=now_ms,
        state=state.model_dump(mode="json"),
    )
    if not state.gaps:
        return dg.SkipReason("no open offset gap")
    try:
        repaired, summary = repair_gaps(context, settings, state, polls, now_ms)
    except (psycopg.Error, KafkaException) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        return dg.SkipReason(f"{issue_summary(issues)}. The repair is tried again: {line}")
    content = IncidentCursor(incidents, state=repaired.model_dump(mode="json"))
    context.update_cursor(content.to_json())
    return dg.SkipReason(f"{issue_summary(issues)}. Repair: {summary}")


def repair_gaps(
    context: dg.SensorEvaluationContext,
    settings: PlatformSettings,
    state: "GapState",
    polls: Sequence["GroupPoll"],
    now_ms: int,
) -> tuple["GapState", str]:
    """Take the next step of the repair; return the state after it, and a summary.

    Each step sends at most `repair_limit` patients, and only if the groups have caught up, so the
    stream is never flooded. Raises psycopg.Error and KafkaException.
    """
    from diabetes_platform.streaming.offset_gaps import GapState, caught_up, next_step
    from diabetes_platform.warehouse.intake import WAITING_AGE, deleted_patients, waiting_patients

    if settings.warehouse_url is None or not caught_up(polls):
        return state, "waits until Flink and the predictor have caught up"
    url, limit = settings.warehouse_url.get_secret_value(), settings.repair_limit
    deleted = deleted_patients(url, limit + 1)
    state = _send_tombstones(context, settings, state, deleted, now_ms)
    unanswered = len(deleted)
    if not limit or state.emission.finished_ms is not None:
        unanswered += len(waiting_patients(url, WAITING_AGE, 1, _rejected(context, settings)).ids)
    step = next_step(state, unanswered, limit, now_ms)
    emission = state.emission
    match step:
        case "emit":
            return _emit_next(context, url, state, limit, now_ms)
        case "wait":
            return state, f"waits for the answers of {emission.emitted:,} patients"
        case "wait_for_operator":
            return state, "changes or deletions did not arrive: run `diabetes repair --all`"
        case "close":
            return GapState(groups=state.groups), "every patient has an answer"


def _rejected(
    context: dg.SensorEvaluationContext, settings: PlatformSettings
) -> dict[int, datetime]:
    try:
        return rejected_patients(Lake(settings.lake, settings.s3))
    except (LakeError, StorageError) as error:
        # A rejected patient then keeps the gap open until the lake is repaired.
        context.log.warning("rejected patients cannot be read: %s", error)
        return {}


def _emit_next(
    context: dg.SensorEvaluationContext, url: str, state: "GapState", limit: int, now_ms: int
) -> tuple["GapState", str]:
    from diabetes_platform.warehouse.intake import emission_text, emit_next

    emission = state.emission
    batch = emit_next(url, emission.through, limit)
    total = emission.emitted + batch.count
    summary = emission_text(total, batch.skipped)
    if batch.skipped:
        context.log.warning(summary)
    update = {"finished_ms": now_ms} if batch.last is None else {"through": batch.last}
    update["emitted"] = total
    return state.model_copy(update={"emission": emission.model_copy(update=update)}), summary


def _send_tombstones(
    context: dg.SensorEvaluationContext,
    settings: PlatformSettings,
    state: "GapState",
    deleted: Sequence[int],
    now_ms: int,
) -> "GapState":
    """Send lost deletions again, unless they are too many or were sent a moment ago."""
    from diabetes_platform.streaming.offset_gaps import ANSWER_MS
    from diabetes_platform.streaming.tombstones import send_tombstones

    emission = state.emission
    sent_now = emission.tombstones_ms is not None and now_ms - emission.tombstones_ms < ANSWER_MS
    if not deleted or len(deleted) > settings.repair_limit or sent_now:
        return state
    send_tombstones(settings.kafka_servers or "", deleted)
    context.log.warning("%d lost deletions sent again", len(deleted))
    return state.model_copy(
        update={"emission": emission.model_copy(update={"tombstones_ms": now_ms})}
    )


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
    now_ms, cursor = time.time_ns() // 1_000_000, IncidentCursor.from_json(context.cursor)
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
