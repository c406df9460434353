"""When assets are made without a person or a clock: declarative automation, all of it.

A batch is asked for at `labels/patients`, and what is made from it follows in the same run. The
daily schedule stays: unchanged input costs a batch next to nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from diabetes_platform.defs.describe import (
    CANDIDATE,
    CHAMPION,
    CLEANED,
    LABELS,
    QUARANTINE,
    SERVING,
    SHADOW,
    STAGING,
    STATISTICS,
    STREAM,
    TRAINING_ROWS,
)
from diabetes_platform.defs.drift import drift_checks
from diabetes_platform.defs.waiting_labels import few_labels_wait

AC = dg.AutomationCondition
_OF_STREAM = dg.AssetSelection.assets(STREAM)
"""It changes every few seconds: what is made from it waits for a batch."""


def _begins_to_fail(
    label: str, asset: dg.AssetKey, checks: dg.AssetChecksDefinition
) -> dg.AutomationCondition[Any]:
    failing = AC.any_checks_match(AC.check_failed().newly_true())
    found = AC.asset_matches(asset, failing.allow(dg.AssetSelection.checks(checks)))
    return found.with_label(label)


ENOUGH_NEW_LABELS = _begins_to_fail("enough confirmed outcomes wait", LABELS, few_labels_wait)
DRIFTED = _begins_to_fail("a field of recent patients has drifted", STREAM, drift_checks)
STALE: dg.AutomationCondition[Any] = AC.asset_matches(
    TRAINING_ROWS, AC.freshness_failed().newly_true()
).with_label("the training set has become stale")
LEARN_AGAIN = (
    (ENOUGH_NEW_LABELS | DRIFTED | STALE).since_last_handled() & ~AC.missing() & ~AC.in_progress()
).with_label("a batch is worth it")
"""Where no batch ever ran a person decides about the first."""

FOLLOW = (
    AC.any_deps_updated().ignore(_OF_STREAM).since_last_handled()
    & ~AC.any_deps_missing().ignore(_OF_STREAM)
    & ~AC.any_deps_in_progress().ignore(_OF_STREAM)
    & ~AC.in_progress()
    & AC.all_deps_blocking_checks_passed()
).with_label("what it is made from was made again")
"""Asked for once: what failed then waits for something new, a person or the schedule."""


def together_with(asset: dg.AssetKey) -> dg.AutomationCondition[Any]:
    """Return the condition of a blocking check: it runs in whichever run makes its asset.

    Dagster asks for the checks of other steps only where one of a run's checks has a condition.
    """
    made = AC.asset_matches(asset, AC.will_be_requested())
    return made.with_label(f"{asset.to_user_string()} is made")


CONDITIONS: Mapping[dg.AssetKey, dg.AutomationCondition[Any]] = {
    LABELS: LEARN_AGAIN,
    **dict.fromkeys(
        (
            CLEANED,
            STATISTICS,
            QUARANTINE,
            STAGING,
            SERVING,
            TRAINING_ROWS,
            CANDIDATE,
            SHADOW,
            CHAMPION,
        ),
        FOLLOW,
    ),
}


def automated(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Return the assets, each with its condition."""
    return [
        each.map_asset_specs(
            lambda spec: (
                spec.replace_attributes(automation_condition=CONDITIONS[spec.key])
                if spec.key in CONDITIONS
                else spec
            )
        )
        for each in assets
    ]


def retraining(*, stream_runs: bool) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that looks at the conditions: off where there is no stream."""
    status = dg.DefaultSensorStatus
    return dg.AutomationConditionSensorDefinition(
        name="retraining",
        target=dg.AssetSelection.assets(*CONDITIONS),
        default_status=status.RUNNING if stream_runs else status.STOPPED,
        minimum_interval_seconds=60,
        run_tags={"platform/graph": "batch"},
        description="Asks for a batch when enough outcomes were confirmed, patients have drifted "
        "or the training set is stale; what is made from new data follows.",
    )
