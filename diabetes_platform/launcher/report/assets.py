"""Assets as a report shows them: when each was last made, and whether that is recent enough."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from diabetes_platform.launcher.report.content import AssetReport, CheckResult, State


def assets_of(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    checks: Mapping[dg.AssetKey, tuple[CheckResult, ...]],
    now: datetime,
) -> tuple[AssetReport, ...]:
    """Return every asset that runs make, in the order in which they follow from each other."""
    graph = defs.resolve_asset_graph()
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    ordered = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)]
    return tuple(
        _asset(specs[key], instance, checks.get(key, ()), now)
        for key in ordered
        if graph.get(key).is_materializable
    )


def _asset(
    spec: dg.AssetSpec,
    instance: dg.DagsterInstance,
    checks: tuple[CheckResult, ...],
    now: datetime,
) -> AssetReport:
    event = instance.get_latest_materialization_event(spec.key)
    made_at = None if event is None else datetime.fromtimestamp(event.timestamp, UTC)
    state, said = freshness(spec.freshness_policy, made_at, now)
    return AssetReport(
        name=spec.key.to_user_string(),
        description=spec.description or "",
        made_at=made_at,
        freshness=state,
        freshness_said=said,
        checks=checks,
    )


def freshness(
    policy: dg.FreshnessPolicy | None, made_at: datetime | None, now: datetime
) -> tuple[State | None, str]:
    """Return whether an asset is as recent as its policy asks, and why; None where it asks nothing.

    By the same rule as Dagster's daemon, which need not run for a report.
    """
    windows = windows_of(policy)
    if windows is None:
        return None, "asked for nothing"
    warn, fail = windows
    if made_at is None:
        return "not run", "never made"
    age = now - made_at
    said = f"{hours(age)} old, allowed {hours(warn)}"
    if age <= warn:
        return "passed", said
    return ("warning" if age <= fail else "failed"), said


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
