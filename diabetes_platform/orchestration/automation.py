"""Automation conditions: new labels, drift or a stale training set request a batch.

`labels/patients` is requested, and the assets downstream follow in the same run. The daily schedule
stays: a batch of unchanged input costs next to nothing.
"""

from typing import Any

import dagster as dg

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.orchestration.check_results import FEW_ROWS_REJECTED
from diabetes_platform.orchestration.describe import (
    MONITORING,
    QUARANTINE,
    SERVING,
    STAGING,
    STREAM,
    TRAINING_ROWS,
)
from diabetes_platform.quality.expectations import EXPECTATIONS

AC = dg.AutomationCondition
_OF_STREAM = dg.AssetSelection.assets(STREAM)
"""It changes every few seconds, so its updates do not request the assets downstream."""


LABELS_CHECK = "few_labels_wait"


def drift_check(field: str) -> str:
    """Name the check of a field's drift."""
    return f"no_drift_{field}"


# One condition: Dagster confuses two conditions on checks of the same asset.
_REQUESTING = dg.AssetSelection.checks(
    *(
        dg.AssetCheckKey(MONITORING, name)
        for name in (LABELS_CHECK, *map(drift_check, FEATURE_NAMES))
    )
)
ENOUGH_NEW_LABELS_OR_DRIFT: dg.AutomationCondition[Any] = AC.asset_matches(
    MONITORING, AC.any_checks_match(AC.check_failed().newly_true()).allow(_REQUESTING)
).with_label("enough confirmed outcomes wait, or a field of recent patients has drifted")
STALE: dg.AutomationCondition[Any] = (
    (
        AC.asset_matches(TRAINING_ROWS, AC.freshness_failed())
        & AC.asset_matches(SERVING, AC.freshness_failed())
    )
    .newly_true()
    .with_label("the training set and the promoted rows have become stale")
)
"""With fresh promoted rows, the last batch had no outcomes to train on, and another has none."""
RETRAIN = (
    (ENOUGH_NEW_LABELS_OR_DRIFT | STALE).since_last_handled() & ~AC.missing() & ~AC.in_progress()
).with_label("a batch is worth it")
"""The first batch is not requested: a person starts it."""

# Dagster counts a warning as failed. A promotion rejects a batch in which one of these has failed.
_MAY_WARN = dg.AssetSelection.checks(
    dg.AssetCheckKey(QUARANTINE, FEW_ROWS_REJECTED),
    *(
        dg.AssetCheckKey(STAGING, spec.name)
        for spec in EXPECTATIONS
        if spec.severity == "warning" or spec.acceptable
    ),
)
_BLOCKING_CHECKS_PASSED = AC.all_deps_match(
    AC.all_checks_match(AC.check_passed() | AC.will_be_requested(), blocking_only=True).ignore(
        _MAY_WARN
    )
).with_label("all blocking checks of the dependencies have passed, apart from warnings")

FOLLOW = (
    AC.any_deps_updated().ignore(_OF_STREAM).since_last_handled()
    & ~AC.any_deps_missing().ignore(_OF_STREAM)
    & ~AC.any_deps_in_progress().ignore(_OF_STREAM)
    & ~AC.in_progress()
    & _BLOCKING_CHECKS_PASSED
).with_label("a dependency was updated")
"""Requested once: after a failure the asset waits for an update, a person or the schedule."""


def with_asset(asset: dg.AssetKey) -> dg.AutomationCondition[Any]:
    """Return the condition of a check that runs whenever its asset is requested.

    Dagster requests the checks of other steps only if a check of the run has a condition.
    """
    condition = AC.asset_matches(asset, AC.will_be_requested())
    return condition.with_label(f"{asset.to_user_string()} is requested")
