"""The check of the champion's live calibration: risks against outcomes confirmed afterwards."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import patients_since
from diabetes_platform.modelling.live_calibration import (
    MIN_OUTCOMES,
    TOLERANCE,
    LiveCalibration,
    measure_live_calibration,
)
from diabetes_platform.modelling.plots import plot_live_calibration, png_markdown
from diabetes_platform.orchestration.check_results import no_champion, without_none
from diabetes_platform.orchestration.describe import CHAMPION, MONITORING, STREAM
from diabetes_platform.orchestration.resources import Models, Warehouse
from diabetes_platform.warehouse.predictions import probabilities_before_outcome

RECENT = timedelta(days=365)


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[CHAMPION, STREAM],
    description="Predicted and observed risk agree for the patients of the last year whose outcome "
    "was confirmed after the prediction. Not evaluated below 100 outcomes.",
)
def risks_come_true(
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Compare stored predictions with the outcomes confirmed after them."""
    current = models.store().champion()
    if current is None:
        return no_champion()
    version = current.champion.model_version
    outcomes = _confirmed(lake)
    times = {intake_id: times for intake_id, (_, times) in outcomes.items()}
    probabilities = probabilities_before_outcome(warehouse.reader_url, version, times)
    calibration = measure_live_calibration(
        np.array(list(probabilities.values()), dtype=np.float64),
        np.array([outcomes[intake_id][0] for intake_id in probabilities], dtype=np.int64),
    )
    return _result(calibration, version, len(outcomes))


def _confirmed(lake: Lake) -> dict[int, tuple[int, tuple[datetime, datetime]]]:
    """Return the outcome, and the times of receipt and confirmation, by patient id."""
    newest = patients_since(lake, datetime.now(UTC) - RECENT)
    names = ("id", OUTCOME.name, "received_at", "outcome_recorded_at")
    rows = zip(*(newest[name].to_pylist() for name in names), strict=True)
    return {
        intake_id: (outcome, (received_at, recorded_at))
        for intake_id, outcome, received_at, recorded_at in rows
        if outcome is not None and recorded_at is not None
    }


def _result(calibration: LiveCalibration, version: str, confirmed: int) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity
    plot = {}
    if calibration.conclusive:
        png = plot_live_calibration(calibration)
        markdown = png_markdown(png, "observed against predicted risk")
        plot["plot/calibration"] = dg.MetadataValue.md(markdown)
    return dg.AssetCheckResult(
        passed=not calibration.miscalibrated,
        severity=severity.ERROR if calibration.severely_miscalibrated else severity.WARN,
        description=f"Model {version}: {calibration.text}.",
        metadata={
            "model_version": version,
            "confirmed_outcomes": confirmed,
            "outcomes_after_an_answer": calibration.outcomes,
            "ill": calibration.positives,
            "outcomes_needed": MIN_OUTCOMES,
            "judged": calibration.conclusive,
            "difference_allowed": TOLERANCE,
            **without_none(
                brier=calibration.brier,
                mean_predicted=calibration.predicted,
                share_observed=calibration.observed,
                calibration_in_the_large=calibration.in_the_large,
                z=calibration.z,
                spiegelhalter_z=calibration.spiegelhalter_z,
                expected_calibration_error=calibration.expected_error,
            ),
            **plot,
        },
    )
