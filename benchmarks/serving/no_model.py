"""The API with a constant instead of a model, to measure the server alone."""

from starlette.types import ASGIApp

from diabetes_platform.contract.bundle import Bundle, Calibration
from diabetes_platform.contract.fields import FEATURE_NAMES, RESULT_LABELS, fingerprint
from serving.app.main import create_app as create_api
from serving.app.served_model import Measurements, Prediction, ServedModel

_PREDICTION: Prediction = {
    "result": RESULT_LABELS[0],
    "probability": 0.27182818284590454,
    "threshold": 0.5,
    "model_version": "0123456789ab",
}


class NoModel(ServedModel):
    """A model that returns the same prediction for every validated patient."""

    def predict(self, patient: Measurements) -> Prediction:
        """Return the constant."""
        del patient
        return _PREDICTION


def create_app() -> ASGIApp:
    """Return the API with the constant model."""
    bundle = Bundle(
        model_version=_PREDICTION["model_version"],
        features=FEATURE_NAMES,
        calibration=Calibration(1.0, 0.0),
        threshold=_PREDICTION["threshold"],
        metrics={},
        training={},
        contract_fingerprint=fingerprint(),
        libraries={},
        files={},
    )
    return create_api(model=NoModel(bundle, scorer=None))  # type: ignore[arg-type]  # it never scores
