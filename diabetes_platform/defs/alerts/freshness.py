"""Freshness of assets, and the sensor that alerts if an asset is stale.

An asset is evaluated as by Dagster's daemon: the age of its latest materialization in the event log
is compared with the windows of its freshness policy.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg

from diabetes_platform.defs.alerts.incident_alerts import issue_summary, track_incidents
from diabetes_platform.defs.stream.assets import STREAM_ASSETS
from diabetes_platform.orchestration.describe import CANDIDATE, CHAMPION, SHADOW, TRAINING_ROWS
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import OUTAGE_POLICY, HealthIssue, IncidentCursor

FreshnessState = Literal["passed", "warning", "failed", "not run"]
Policies = Mapping[dg.AssetKey, dg.FreshnessPolicy]
_TRAINED = frozenset({TRAINING_ROWS, CANDIDATE, SHADOW, CHAMPION})
_STREAM_KEYS = frozenset(asset.key for asset in STREAM_ASSETS)


@dg.sensor(
    description="Sends an alert if an asset is older than its freshness policy allows, and another "
    "one when it is materialized again.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=300,
)
def stale_assets(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Evaluate the freshness policies and alert on incidents that opened or were resolved."""
    evaluated_at, policies = _utc_now(), freshness_policies(_assets(context))
    if settings.kafka_servers is None:
        # Without a stream, nothing can materialize the stream's assets.
        policies = {key: policies[key] for key in policies.keys() - _STREAM_KEYS}
    issues = freshness_issues(context.instance, policies, evaluated_at)
    now_ms = int(evaluated_at.timestamp() * 1000)
    cursor = IncidentCursor.from_json(context.cursor)
    track_incidents(context, settings, cursor, issues, OUTAGE_POLICY, now_ms=now_ms)
    return dg.SkipReason(issue_summary(issues) or "no asset is stale")


def freshness_policies(assets: Iterable[object]) -> Policies:
    """Return the freshness policy of each asset that has one."""
    definitions = (asset for asset in assets if isinstance(asset, dg.AssetsDefinition))
    specs = (spec for definition in definitions for spec in definition.specs)
    return {spec.key: spec.freshness_policy for spec in specs if spec.freshness_policy is not None}


def freshness_issues(
    instance: dg.DagsterInstance, policies: Policies, evaluated_at: datetime
) -> list[HealthIssue]:
    """Return the stale assets in the order of their keys.

    An asset that was never materialized is not stale. A run that skips the training counts as a
    materialization of the assets that it skips.
    """
    issues = []
    skipped_at = _training_skipped(instance)
    for key, policy in sorted(policies.items()):
        materialized_at = last_materialized(instance, key)
        if materialized_at is not None and skipped_at is not None and key in _TRAINED:
            materialized_at = max(materialized_at, skipped_at)
        state, reason = evaluate_freshness(policy, materialized_at, evaluated_at)
        if state == "failed":
            issues.append(HealthIssue(f"asset {key.to_user_string()}", f"is stale: {reason}"))
    return issues


def last_materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> datetime | None:
    """Return the time of an asset's latest materialization, or None without any."""
    event = instance.get_latest_materialization_event(key)
    return None if event is None else datetime.fromtimestamp(event.timestamp, UTC)


def _training_skipped(instance: dg.DagsterInstance) -> datetime | None:
    """Return the time at which a run skipped the training last, or None."""
    observed = instance.fetch_observations(TRAINING_ROWS, limit=1).records
    return datetime.fromtimestamp(observed[0].timestamp, UTC) if observed else None


def evaluate_freshness(
    policy: dg.FreshnessPolicy | None, materialized_at: datetime | None, evaluated_at: datetime
) -> tuple[FreshnessState | None, str]:
    """Return an asset's state and the reason; None if its policy has no time window."""
    fail_window = getattr(policy, "fail_window", None)
    if fail_window is None:
        return None, "no freshness policy"
    if materialized_at is None:
        return "not run", "never materialized"
    fail = fail_window.to_timedelta()
    warn = (getattr(policy, "warn_window", None) or fail_window).to_timedelta()
    age = evaluated_at - materialized_at
    if age <= warn:
        return "passed", f"{format_age(age)} old, allowed {format_age(warn)}"
    if age <= fail:
        return "warning", f"{format_age(age)} old, allowed {format_age(warn)}"
    return "failed", f"{format_age(age)} old, allowed {format_age(fail)}"


def format_age(age: timedelta) -> str:
    """Return a duration in minutes, hours or days."""
    seconds = age.total_seconds()
    if seconds < 3600:  # noqa: PLR2004 - an hour
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 3 * 86_400 else f"{seconds / 86_400:.0f} days"


def _assets(context: dg.SensorEvaluationContext) -> Iterable[dg.AssetsDefinition]:
    if context.repository_def is None:
        raise dg.DagsterInvariantViolationError("stale_assets: evaluated outside a code location")
    return context.repository_def.assets_defs_by_key.values()


def _utc_now() -> datetime:
    return datetime.now(UTC)
