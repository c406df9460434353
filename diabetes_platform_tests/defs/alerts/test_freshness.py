"""Freshness policies, and one alert per stale asset."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.defs.alerts import freshness as module
from diabetes_platform.defs.alerts.freshness import (
    evaluate_freshness,
    format_age,
    freshness_issues,
    freshness_policies,
    stale_assets,
)
from diabetes_platform.defs.stream.assets import STREAM_ASSETS, build_stream_asset
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    CHAMPION,
    DAILY,
    RAW,
    SHADOW,
    SKIPPED,
    STREAM,
    TRAINING_ROWS,
)
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import Incident, IncidentCursor

EVALUATED_AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "state", "reason"),
    [
        (timedelta(minutes=5), "passed", "5 min old, allowed 26 h"),
        (timedelta(hours=26), "passed", "26 h old, allowed 26 h"),
        (timedelta(hours=27), "warning", "27 h old, allowed 26 h"),
        (timedelta(hours=37), "failed", "37 h old, allowed 36 h"),
        (timedelta(days=9), "failed", "9 days old, allowed 36 h"),
    ],
)
def test_evaluates_the_windows_of_a_policy(age: timedelta, state: str, reason: str) -> None:
    assert evaluate_freshness(DAILY, EVALUATED_AT - age, EVALUATED_AT) == (state, reason)


def test_a_policy_without_a_warning_window_gives_no_warning() -> None:
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2))
    assert (
        evaluate_freshness(policy, EVALUATED_AT - timedelta(hours=3), EVALUATED_AT)[0] == "failed"
    )
    assert (
        evaluate_freshness(policy, EVALUATED_AT - timedelta(hours=1), EVALUATED_AT)[0] == "passed"
    )


def test_an_asset_without_materialization_or_policy_is_neither_fresh_nor_stale() -> None:
    assert evaluate_freshness(DAILY, None, EVALUATED_AT) == ("not run", "never materialized")
    assert evaluate_freshness(None, EVALUATED_AT, EVALUATED_AT) == (None, "no freshness policy")


def test_formats_an_age_in_a_suitable_unit() -> None:
    assert [format_age(timedelta(minutes=m)) for m in (0, 59, 90, 3000)] == [
        "0 min", "59 min", "2 h", "50 h",
    ]  # fmt: skip


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in which two assets were just materialized."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        for key in (RAW, STREAM):
            ephemeral.report_runless_asset_event(dg.AssetMaterialization(key))
        yield ephemeral


def tick(
    settings: PlatformSettings, instance: dg.DagsterInstance, cursor: IncidentCursor
) -> IncidentCursor:
    """Evaluate the sensor; return its cursor."""
    specs = [dg.AssetSpec(key, freshness_policy=DAILY) for key in (RAW, STREAM)]
    definitions = dg.Definitions(assets=[dg.AssetsDefinition(specs=[spec]) for spec in specs])
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor.to_json(),
        definitions=definitions,
        resources={"settings": settings},
    ) as context:
        stale_assets(context)
        return IncidentCursor.from_json(context.cursor)


def alerts(settings: PlatformSettings) -> list[dict[str, str]]:
    if not settings.alerts.exists():
        return []
    return [json.loads(line) for line in settings.alerts.read_text().splitlines()]


def test_alerts_once_for_an_asset_that_stays_stale(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PlatformSettings(home=tmp_path)
    cursor = tick(settings, instance, IncidentCursor())
    assert (cursor, alerts(settings)) == (IncidentCursor(), [])
    for ticks in range(4):
        later = datetime.now(UTC) + timedelta(hours=37, minutes=5 * ticks)
        monkeypatch.setattr(module, "_utc_now", lambda later=later: later)
        cursor = tick(settings, instance, cursor)
    # Without a stream, nothing can materialize the stream's assets.
    (alert,) = alerts(settings)
    assert (alert["state"], alert["subject"]) == ("raised", "asset raw/patients")
    assert alert["trouble"] == "is stale: 37 h old, allowed 36 h"


def test_alerts_once_when_a_stale_asset_is_materialized(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    settings = PlatformSettings(home=tmp_path)
    since_ms = int((datetime.now(UTC) - timedelta(minutes=5)).timestamp() * 1000)
    incident = Incident("asset raw/patients", "is stale", since_ms, since_ms, opened=True)
    cursor = tick(settings, instance, IncidentCursor((incident,)))
    tick(settings, instance, cursor)
    (alert,) = alerts(settings)
    assert (alert["state"], alert["subject"]) == ("resolved", "asset raw/patients")
    assert cursor == IncidentCursor()


def test_reports_stale_assets_of_the_stream(instance: dg.DagsterInstance) -> None:
    later = datetime.now(UTC) + timedelta(hours=40)
    issues = freshness_issues(instance, {STREAM: DAILY}, later)
    assert [issue.subject for issue in issues] == ["asset stream/patients"]


def test_reports_no_asset_that_was_never_materialized() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert freshness_issues(instance, {RAW: DAILY}, EVALUATED_AT) == []


def test_assets_of_a_skipped_training_are_not_stale() -> None:
    """A run skipped the training later than the last run that trained."""
    trained = {CANDIDATE: DAILY, CHAMPION: DAILY, SHADOW: DAILY, TRAINING_ROWS: DAILY}
    policies = {**trained, RAW: DAILY}
    with dg.DagsterInstance.ephemeral() as instance:
        for key in policies:
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
        time.sleep(0.5)
        skipped_at = datetime.now(UTC)
        expires = skipped_at + timedelta(hours=36)
        assert len(freshness_issues(instance, policies, expires)) == len(policies)
        skipped = dg.AssetObservation(TRAINING_ROWS, metadata={SKIPPED: "no outcomes"})
        instance.report_runless_asset_event(skipped)
        stale = [issue.subject for issue in freshness_issues(instance, policies, expires)]
        assert stale == ["asset raw/patients"]
        # No run at all for as long.
        later = freshness_issues(instance, policies, expires + timedelta(minutes=1))
        assert len(later) == len(policies)


def test_finds_every_asset_with_a_policy() -> None:
    keys = {
        key.to_user_string() for key in freshness_policies(map(build_stream_asset, STREAM_ASSETS))
    }
    assert keys == {"stream/patients", "stream/windows"}
    assert build_definitions().resolve_sensor_def("stale_assets").default_status.value == "RUNNING"
