"""Freshness by the policy's own windows: a stale asset is one alert, its renewal one notice."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.defs.alerts import freshness as module
from diabetes_platform.defs.alerts.freshness import (
    freshness,
    hours,
    policies_of,
    stale,
    stale_assets,
)
from diabetes_platform.defs.stream.assets import build_stream_assets
from diabetes_platform.orchestration.describe import DAILY, RAW, STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.troubles import Lasting

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "state", "said"),
    [
        (timedelta(minutes=5), "passed", "5 min old, allowed 26 h"),
        (timedelta(hours=26), "passed", "26 h old, allowed 26 h"),
        (timedelta(hours=27), "warning", "27 h old, allowed 26 h"),
        (timedelta(hours=37), "failed", "37 h old, allowed 36 h"),
        (timedelta(days=9), "failed", "9 days old, allowed 36 h"),
    ],
)
def test_an_asset_is_fresh_for_as_long_as_its_policy_says(
    age: timedelta, state: str, said: str
) -> None:
    assert freshness(DAILY, NOW - age, NOW) == (state, said)


def test_without_a_second_window_there_is_no_warning() -> None:
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2))
    assert freshness(policy, NOW - timedelta(hours=3), NOW)[0] == "failed"
    assert freshness(policy, NOW - timedelta(hours=1), NOW)[0] == "passed"


def test_one_that_was_never_made_is_told_and_one_that_is_asked_for_nothing_has_no_state() -> None:
    assert freshness(DAILY, None, NOW) == ("not run", "never made")
    assert freshness(None, NOW, NOW)[0] is None


def test_durations_are_in_the_unit_that_a_person_would_take() -> None:
    assert [hours(timedelta(minutes=m)) for m in (0, 59, 90, 3000)] == [
        "0 min", "59 min", "2 h", "50 h",
    ]  # fmt: skip


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """One in which a batch and an increment were made just now."""
    with dg.DagsterInstance.ephemeral() as made:
        for key in (RAW, STREAM):
            made.report_runless_asset_event(dg.AssetMaterialization(key))
        yield made


def tick(settings: PlatformSettings, instance: dg.DagsterInstance, cursor: str | None) -> str:
    specs = [dg.AssetSpec(key, freshness_policy=DAILY) for key in (RAW, STREAM)]
    assets = [dg.AssetsDefinition(specs=[spec]) for spec in specs]
    definitions = dg.Definitions(assets=assets)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions, resources={"settings": settings}
    ) as context:
        stale_assets(context)
        assert context.cursor is not None
        return context.cursor


def alerts(settings: PlatformSettings) -> list[dict[str, str]]:
    if not settings.alerts.exists():
        return []
    return [json.loads(line) for line in settings.alerts.read_text().splitlines()]


def test_an_asset_that_stays_stale_is_one_alert(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PlatformSettings(home=tmp_path)
    cursor = tick(settings, instance, None)
    assert (cursor, alerts(settings)) == ("[]", [])
    for ticks in range(4):
        later = datetime.now(UTC) + timedelta(hours=37, minutes=5 * ticks)
        monkeypatch.setattr(module, "_now", lambda later=later: later)
        cursor = tick(settings, instance, cursor)
    (told,) = alerts(settings)
    # Without a stream nobody is called for an asset that nobody can make.
    assert (told["state"], told["subject"]) == ("raised", "asset raw/patients")
    assert told["trouble"] == "is stale: 37 h old, allowed 36 h"


def test_one_that_was_made_again_is_one_notice(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    settings = PlatformSettings(home=tmp_path)
    before_ms = int((datetime.now(UTC) - timedelta(minutes=5)).timestamp() * 1000)
    known = Lasting("asset raw/patients", "is stale: 37 h old", before_ms, before_ms, told=True)
    cursor = tick(settings, instance, json.dumps([asdict(known)]))
    tick(settings, instance, cursor)
    (told,) = alerts(settings)
    assert (told["state"], told["subject"]) == ("resolved", "asset raw/patients")
    assert cursor == "[]"


def test_with_a_stream_its_assets_are_looked_at_too(instance: dg.DagsterInstance) -> None:
    found = stale(instance, {STREAM: DAILY}, datetime.now(UTC) + timedelta(hours=40))
    assert [one.subject for one in found] == ["asset stream/patients"]


def test_what_was_never_made_is_no_incident() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert stale(instance, {RAW: DAILY}, NOW) == []


def test_every_asset_with_a_policy_is_watched() -> None:
    watched = {key.to_user_string() for key in policies_of(build_stream_assets())}
    assert watched == {"stream/patients", "stream/windows"}
    assert build_definitions().resolve_sensor_def("stale_assets").default_status.value == "RUNNING"
