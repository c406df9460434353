"""Alerts on failed checks: real results in an event log, and the sensor."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.defs.alerts.checks import (
    check_alert,
    check_alerts,
    check_issues,
    latest_evaluations,
)
from diabetes_platform.orchestration.describe import CANDIDATE, MONITORING, STAGING, STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.incidents import Incident, IncidentCursor

GLUCOSE, BMI = "no_drift_glucose", "no_drift_bmi"
NEAR = "row_count_near_previous_batch"
SEVERITY = dg.AssetCheckSeverity


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def evaluation(
    name: str,
    *,
    asset: dg.AssetKey = MONITORING,
    passed: bool = False,
    severity: dg.AssetCheckSeverity = SEVERITY.WARN,
    judged: bool = True,
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=name,
        passed=passed,
        severity=severity,
        metadata={"judged": dg.MetadataValue.bool(judged)},
        description="PSI 0.4, allowed 0.25",
    )


def tick(
    instance: dg.DagsterInstance, settings: PlatformSettings, cursor: IncidentCursor
) -> IncidentCursor:
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor.to_json(),
        definitions=build_definitions(lambda: settings),
        resources={"settings": settings},
    ) as context:
        check_alerts(context)
        return IncidentCursor.from_json(context.cursor)


def alerts(settings: PlatformSettings) -> list[dict[str, object]]:
    if not settings.alerts.exists():
        return []
    return [json.loads(line) for line in settings.alerts.read_text().splitlines()]


def test_alerts_once_while_checks_fail_and_once_when_they_pass(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    settings = PlatformSettings(home=tmp_path)
    for name in (GLUCOSE, BMI):
        instance.report_runless_asset_event(evaluation(name))
    cursor = tick(instance, settings, IncidentCursor())
    # An increment of the stream, and the next hour with the same result.
    instance.report_runless_asset_event(dg.AssetMaterialization(STREAM))
    instance.report_runless_asset_event(evaluation(GLUCOSE))
    cursor = tick(instance, settings, cursor)
    (alert,) = alerts(settings)
    assert alert["state"] == "raised"
    assert alert["checks"] == dict.fromkeys(
        (f"check {BMI} of monitoring/live", f"check {GLUCOSE} of monitoring/live"),
        "warns: PSI 0.4, allowed 0.25",
    )

    instance.report_runless_asset_event(evaluation(GLUCOSE, passed=True))
    cursor = tick(instance, settings, cursor)
    assert [alert["state"] for alert in alerts(settings)] == ["raised", "resolved"]
    assert [incident.subject for incident in cursor.incidents] == [
        f"check {BMI} of monitoring/live"
    ]


@pytest.mark.parametrize(
    ("result", "alerting"),
    [
        (evaluation(GLUCOSE), True),
        (evaluation("same_features", severity=SEVERITY.ERROR), True),
        (evaluation(GLUCOSE, passed=True), False),
        (evaluation(GLUCOSE, judged=False), False),
        (evaluation(NEAR, asset=STAGING), True),
        # The run fails, which raises an alert of its own.
        (evaluation("has_rows", asset=STAGING, severity=SEVERITY.ERROR), False),
    ],
)
def test_failed_checks_alert_unless_inconclusive_or_the_run_fails(
    result: dg.AssetCheckEvaluation, *, alerting: bool
) -> None:
    key = dg.AssetCheckKey(result.asset_key, result.check_name)
    assert bool(check_issues({key: result})) is alerting


@pytest.mark.parametrize(
    ("asset", "name"), [(MONITORING, "few_labels_wait"), (CANDIDATE, "beats_champion")]
)
def test_checks_of_normal_operation_do_not_alert(
    instance: dg.DagsterInstance, asset: dg.AssetKey, name: str
) -> None:
    instance.report_runless_asset_event(evaluation(name, asset=asset))
    assert latest_evaluations(instance, [dg.AssetCheckKey(asset, name)]) == {}


def test_a_check_without_a_result_is_no_issue(instance: dg.DagsterInstance) -> None:
    assert latest_evaluations(instance, [dg.AssetCheckKey(MONITORING, GLUCOSE)]) == {}
    assert check_issues({}) == []
    assert check_alert("raised", [], "http://dagster") == []


def test_a_resolved_alert_names_the_checks() -> None:
    incident = Incident("check a of b", "warns", 1, 1, opened=True)
    (alert,) = check_alert("resolved", [incident], "http://dagster")
    assert alert.text.startswith("resolved: check a of b passes again")
    (alert,) = check_alert("resolved", [incident, incident], "http://dagster")
    assert alert.text.startswith("resolved: check a of b, check a of b pass again")


SHIFTED = "glucose_distribution_near_previous_batch"
ACCOUNTED = "every_message_accounted_for"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            evaluation(SHIFTED, asset=STAGING),
            evaluation(SHIFTED, asset=STAGING, severity=SEVERITY.ERROR),
        ),
        (
            evaluation(ACCOUNTED, severity=SEVERITY.ERROR),
            evaluation(ACCOUNTED, judged=False),
        ),
        (evaluation(GLUCOSE), evaluation(GLUCOSE, judged=False)),
    ],
    ids=["it stops the batch now", "Flink does not answer", "too few patients"],
)
def test_only_a_pass_resolves_an_incident(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    first: dg.AssetCheckEvaluation,
    second: dg.AssetCheckEvaluation,
) -> None:
    settings = PlatformSettings(home=tmp_path)
    instance.report_runless_asset_event(first)
    cursor = tick(instance, settings, IncidentCursor())
    instance.report_runless_asset_event(second)
    cursor = tick(instance, settings, cursor)
    assert [alert["state"] for alert in alerts(settings)] == ["raised"]

    passed = evaluation(first.check_name, asset=first.asset_key, passed=True)
    instance.report_runless_asset_event(passed)
    cursor = tick(instance, settings, cursor)
    assert [alert["state"] for alert in alerts(settings)] == ["raised", "resolved"]
    assert cursor.incidents == ()


def test_the_incident_of_a_removed_check_ends(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path)
    removed = Incident("check no_such of monitoring/live", "warns", 1, 1, opened=True)
    assert tick(instance, settings, IncidentCursor((removed,))).incidents == ()


def test_the_sensor_runs_by_default() -> None:
    sensor = build_definitions().resolve_sensor_def("check_alerts")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
