"""Whether an asset is as recent as its policy asks; an alert for each that is stale, and its end.

By the policy's own windows, as Dagster's daemon judges them. The event log is what is asked.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg

from diabetes_platform.defs.alerts.alerts import tell
from diabetes_platform.defs.alerts.stream_health import alerts_of, read_cursor
from diabetes_platform.defs.stream.assets import STREAM_ASSETS
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.troubles import Trouble, follow

Fresh = Literal["passed", "warning", "failed", "not run"]
Policies = Mapping[dg.AssetKey, dg.FreshnessPolicy]
_OF_STREAM = frozenset(asset.key for asset in STREAM_ASSETS)


@dg.sensor(
    name="stale_assets",
    description="Writes an alert when an asset is older than its freshness policy allows, and "
    "one when it was made again.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=300,
)
def stale_assets(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Alert on assets that became stale, and on those that were made again."""
    now, policies = _now(), policies_of(_assets(context))
    # Without a stream nobody can make these.
    asked = policies.keys() - (_OF_STREAM if settings.kafka_servers is None else set())
    found = stale(context.instance, {key: policies[key] for key in asked}, now)
    known, change = follow(read_cursor(context.cursor), found, int(now.timestamp() * 1000))
    tell(context, alerts_of(change, settings.dagster), settings)
    context.update_cursor(json.dumps([asdict(one) for one in known]))
    said = "; ".join(f"{one.subject} {one.text}" for one in found)
    return dg.SkipReason(said or "no asset is stale")


def _assets(context: dg.SensorEvaluationContext) -> Iterable[dg.AssetsDefinition]:
    if context.repository_def is None:
        raise dg.DagsterInvariantViolationError("stale_assets: evaluated outside a code location")
    return context.repository_def.assets_defs_by_key.values()


def policies_of(assets: Iterable[object]) -> Policies:
    """Return the policy of each asset that has one."""
    made = (each for each in assets if isinstance(each, dg.AssetsDefinition))
    specs = (spec for each in made for spec in each.specs)
    return {spec.key: spec.freshness_policy for spec in specs if spec.freshness_policy is not None}


def stale(instance: dg.DagsterInstance, policies: Policies, now: datetime) -> list[Trouble]:
    """Return the assets that were made once and are older than allowed, in the order of keys."""
    found = []
    for key, policy in sorted(policies.items()):
        state, said = freshness(policy, made_at(instance, key), now)
        if state == "failed":
            found.append(Trouble(f"asset {key.to_user_string()}", f"is stale: {said}"))
    return found


def made_at(instance: dg.DagsterInstance, key: dg.AssetKey) -> datetime | None:
    """Return when an asset was last made; None of one that never was."""
    event = instance.get_latest_materialization_event(key)
    return None if event is None else datetime.fromtimestamp(event.timestamp, UTC)


def freshness(
    policy: dg.FreshnessPolicy | None, at: datetime | None, now: datetime
) -> tuple[Fresh | None, str]:
    """Return whether an asset made `at` is recent enough, and why; None where nothing is asked."""
    windows = windows_of(policy)
    if windows is None:
        return None, "asked for nothing"
    warn, fail = windows
    if at is None:
        return "not run", "never made"
    age = now - at
    if age <= warn:
        return "passed", f"{hours(age)} old, allowed {hours(warn)}"
    if age <= fail:
        return "warning", f"{hours(age)} old, allowed {hours(warn)}"
    return "failed", f"{hours(age)} old, allowed {hours(fail)}"


def windows_of(policy: dg.FreshnessPolicy | None) -> tuple[timedelta, timedelta] | None:
    """Return after how long a policy warns and fails; None of one without such windows."""
    fail = getattr(policy, "fail_window", None)
    if fail is None:
        return None
    warn = getattr(policy, "warn_window", None) or fail
    return warn.to_timedelta(), fail.to_timedelta()


def hours(age: timedelta) -> str:
    """Return a duration in the unit that a person would take."""
    total = age.total_seconds()
    if total < 3600:  # noqa: PLR2004 - an hour
        return f"{total / 60:.0f} min"
    return f"{total / 3600:.0f} h" if total < 3 * 86_400 else f"{total / 86_400:.0f} days"


def _now() -> datetime:
    return datetime.now(UTC)
