"""The sensor that alerts on failed checks: of stream and model, and warnings of a batch.

A failed blocking check of a batch fails its run, which `failure_alerts` reports.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from diabetes_platform.clients.alert_channels import Alert
from diabetes_platform.defs.alerts.incident_alerts import (
    State,
    incident_alert,
    issue_summary,
    track_incidents,
)
from diabetes_platform.orchestration.automation import LABELS_CHECK
from diabetes_platform.orchestration.describe import MONITORING, QUARANTINE, STAGING
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import (
    HealthIssue,
    Incident,
    IncidentCursor,
    IncidentPolicy,
)

AT_ONCE = IncidentPolicy(opens_after_ms=0, resolves_after_ms=0)
"""A check was evaluated over minutes or days of data: its result needs no confirmation."""
ALERTING_ASSETS = frozenset({MONITORING, QUARANTINE, STAGING})
REQUESTS = frozenset({LABELS_CHECK})
"""Checks whose failure requests a batch, and nothing else has to be done."""
Evaluations = Mapping[dg.AssetCheckKey, dg.AssetCheckEvaluation]


@dg.sensor(
    description="Sends an alert if a check of stream or model fails, or a check of the batch "
    "warns, and another one when it passes.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
)
def check_alerts(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Read the latest results and alert on incidents that opened or were resolved."""
    if context.repository_def is None:
        raise dg.DagsterInvariantViolationError("check_alerts: evaluated outside a code location")
    keys = context.repository_def.asset_graph.asset_check_keys
    evaluations = latest_evaluations(context.instance, keys)
    cursor, now_ms = IncidentCursor.from_json(context.cursor), time.time_ns() // 1_000_000
    issues = check_issues(evaluations)
    issues += unresolved_issues(cursor.incidents, issues, keys, evaluations)
    track_incidents(context, settings, cursor, issues, AT_ONCE, now_ms=now_ms, describe=check_alert)
    return dg.SkipReason(issue_summary(issues) or "no check fails")


def latest_evaluations(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]
) -> Evaluations:
    """Return the latest complete evaluation of each alerting check that has one.

    A check that a run has planned, or is evaluating, has its previous result.
    """
    alerting = [
        key for key in keys if key.asset_key in ALERTING_ASSETS and key.name not in REQUESTS
    ]
    summaries = instance.event_log_storage.get_asset_check_summary_records(alerting)
    records = {key: s.last_completed_check_execution_record for key, s in summaries.items()}
    return {
        key: record.evaluation
        for key, record in records.items()
        if record is not None and isinstance(record.evaluation, dg.AssetCheckEvaluation)
    }


def check_issues(evaluations: Evaluations) -> list[HealthIssue]:
    """Return the failed checks by name; an inconclusive result is no failure."""
    issues = []
    for key, evaluation in sorted(evaluations.items(), key=lambda item: item[0].to_user_string()):
        judged = evaluation.metadata.get("judged")
        inconclusive = judged is not None and judged.value is False
        severe = evaluation.severity is dg.AssetCheckSeverity.ERROR
        fails_the_run = severe and key.asset_key != MONITORING
        if evaluation.passed or inconclusive or fails_the_run:
            continue
        verb = "fails" if severe else "warns"
        text = f"{verb}: {evaluation.description or _limits(evaluation)}"
        issues.append(HealthIssue(_subject(key), text))
    return issues


def unresolved_issues(
    incidents: Iterable[Incident],
    issues: Iterable[HealthIssue],
    keys: Iterable[dg.AssetCheckKey],
    evaluations: Evaluations,
) -> list[HealthIssue]:
    """Return the issues of incidents that are not among `issues` although no pass resolved them.

    Such a check became inconclusive, could not be evaluated, or fails the run now. A check that is
    not among `keys` was removed: its incident ends.
    """
    passed = {_subject(key) for key, evaluation in evaluations.items() if evaluation.passed}
    unresolved = {_subject(key) for key in keys} - passed - {issue.subject for issue in issues}
    return [HealthIssue(i.subject, i.problem) for i in incidents if i.subject in unresolved]


def _subject(key: dg.AssetCheckKey) -> str:
    return f"check {key.name} of {key.asset_key.to_user_string()}"


def _limits(evaluation: dg.AssetCheckEvaluation) -> str:
    """Return the observed value and the limits of an expectation; no patient's value."""
    limits = {"observed": "observed", "allowed": "allowed", "accepted_by": "accepted by"}
    names = [name for name in limits if name in evaluation.metadata]
    return ", ".join(f"{limits[name]} {evaluation.metadata[name].value}" for name in names)


def check_alert(state: State, incidents: Sequence[Incident], dagster_url: str) -> list[Alert]:
    """Return one alert for all checks that changed in a poll: drift often has several fields."""
    if not incidents:
        return []
    if state == "resolved":
        subjects = ", ".join(incident.subject for incident in incidents)
        verb = "passes" if len(incidents) == 1 else "pass"
        text = f"resolved: {subjects} {verb} again"
    else:
        text = "; ".join(f"{incident.subject} {incident.problem}" for incident in incidents)
    identity = ", ".join(f"{i.subject} since {i.since_ms}" for i in incidents)
    checks = {incident.subject: incident.problem for incident in incidents}
    return [incident_alert(state, identity, text, dagster_url, checks=checks)]
