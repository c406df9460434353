"""The check of the champion's live calibration: risks against outcomes confirmed afterwards."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.describe import CHAMPION, STREAM
from diabetes_platform.orchestration.resources import Models, Warehouse
from diabetes_platform.orchestration.unjudged import no_champion

if TYPE_CHECKING:
    from diabetes_platform.modelling.live_calibration import LiveCalibration

RECENT = timedelta(days=365)


@dg.asset_check(
    asset=CHAMPION,
    additional_deps=[STREAM],
    description="Of the last year's patients whose outcome was confirmed after the champion had "
    "answered: predicted and observed risk agree on the whole. Not judged below 100 outcomes.",
)
def risks_come_true(
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Join stored predictions with confirmed outcomes."""
    import numpy as np

    from diabetes_platform.modelling.live_calibration import measure_live_calibration
    from diabetes_platform.warehouse.predictions import (
        probabilities_before_outcome,
        read_predictions,
    )

    current = models.store().champion()
    if current is None:
        return no_champion()
    version = current.champion.model_version
    outcomes = _confirmed(lake)
    predicted = read_predictions(warehouse.reader_url, version, outcomes)
    before = probabilities_before_outcome(predicted, {one: at for one, (_, at) in outcomes.items()})
    found = measure_live_calibration(
        np.array(list(before.values()), dtype=np.float64),
        np.array([outcomes[one][0] for one in before], dtype=np.int64),
    )
    return _result(found, version, len(outcomes))


def _confirmed(lake: Lake) -> dict[int, tuple[int, datetime]]:
    """Return outcome and the time of its confirmation by patient."""
    from diabetes_platform.lake.newest_patients import patients_since

    newest = patients_since(lake, datetime.now(UTC) - RECENT)
    names = ("id", OUTCOME.name, "outcome_recorded_at")
    rows = zip(*(newest[name].to_pylist() for name in names), strict=True)
    return {
        intake_id: (outcome, recorded)
        for intake_id, outcome, recorded in rows
        if outcome is not None and recorded is not None
    }


def _result(found: "LiveCalibration", version: str, confirmed: int) -> dg.AssetCheckResult:
    from diabetes_platform.modelling.live_calibration import MIN_OUTCOMES, TOLERANCE
    from diabetes_platform.modelling.plots import plot_live_calibration, png_markdown

    severity = dg.AssetCheckSeverity
    numbers = {
        "brier": found.brier,
        "mean_predicted": found.predicted,
        "share_observed": found.observed,
        "calibration_in_the_large": found.in_the_large,
        "z": found.z,
        "spiegelhalter_z": found.spiegelhalter_z,
        "expected_calibration_error": found.expected_error,
    }
    metadata: dict[str, Any] = {
        "model_version": version,
        "confirmed_outcomes": confirmed,
        "outcomes_after_an_answer": found.outcomes,
        "ill": found.positives,
        "outcomes_needed": MIN_OUTCOMES,
        "judged": found.conclusive,
        "difference_allowed": TOLERANCE,
        **{name: number for name, number in numbers.items() if number is not None},
    }
    if found.conclusive:
        markdown = png_markdown(plot_live_calibration(found), "observed against predicted risk")
        metadata["plot/calibration"] = dg.MetadataValue.md(markdown)
    return dg.AssetCheckResult(
        passed=not found.miscalibrated,
        severity=severity.ERROR if found.severely_miscalibrated else severity.WARN,
        description=f"Model {version}: {found.text}.",
        metadata=metadata,
    )
