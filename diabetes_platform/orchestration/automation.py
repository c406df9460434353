"""When assets are made without a person or a clock: declarative automation, all of it.

A batch is asked for at `labels/patients`, and what is made from it follows in the same run. The
daily schedule stays: unchanged input costs a batch next to nothing.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.orchestration.describe import (
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

AC = dg.AutomationCondition
_OF_STREAM = dg.AssetSelection.assets(STREAM)
"""It changes every few seconds: what is made from it waits for a batch."""


LABELS_CHECK = "few_labels_wait"


def drift_check(field: str) -> str:
    """Name the check of a field's drift."""
    return f"no_drift_{field}"


def _begins_to_fail(
    label: str, asset: dg.AssetKey, names: Sequence[str]
) -> dg.AutomationCondition[Any]:
    failing = AC.any_checks_match(AC.check_failed().newly_true())
    found = AC.asset_matches(asset, failing.allow(_checks(asset, names)))
    return found.with_label(label)


def _checks(asset: dg.AssetKey, names: Sequence[str]) -> dg.AssetSelection:
    return dg.AssetSelection.checks(*(dg.AssetCheckKey(asset, name) for name in names))


ENOUGH_NEW_LABELS = _begins_to_fail("enough confirmed outcomes wait", LABELS, [LABELS_CHECK])
DRIFTED = _begins_to_fail(
    "a field of recent patients has drifted", STREAM, [*map(drift_check, FEATURE_NAMES)]
)
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


AUTOMATED = (
    LABELS,
    CLEANED,
    STATISTICS,
    QUARANTINE,
    STAGING,
    SERVING,
    TRAINING_ROWS,
    CANDIDATE,
    SHADOW,
    CHAMPION,
)
"""The assets with a condition: LEARN_AGAIN for the labels, FOLLOW for the others."""
