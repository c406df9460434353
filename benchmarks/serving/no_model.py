"""The API itself with a constant in the model's place: what the server costs without a model."""

from collections.abc import Sequence

from pydantic import BaseModel
from starlette.types import ASGIApp

from diabetes_platform.contract.bundle import Bundle, Calibration
from diabetes_platform.contract.fields import FEATURE_NAMES, RESULT_LABELS, fingerprint
from serving.app.main import create_app as create_api
from serving.app.scorer import Row
from serving.app.served_model import Prediction, ServedModel

_ANSWER: Prediction = {
    "result": RESULT_LABELS[0],
    "probability": 0.27182818284590454,
    "threshold": 0.5,
    "model_version": "0123456789ab",
}


class NoModel(ServedModel):
    """Reads and checks the patient like any model, then answers the same for everyone."""

    def predict(self, patient: BaseModel) -> Prediction:
        """Return the constant."""
        del patient
        return _ANSWER


class _NoScores:
    def score(self, row: Row, /) -> float:
        raise NotImplementedError

    def score_all(self, rows: Sequence[Row], /) -> list[float]:
        raise NotImplementedError

    def contributions(self, rows: Sequence[Row], /) -> list[list[float]]:
        raise NotImplementedError


def create_app() -> ASGIApp:
    """Return the API with the constant."""
    bundle = Bundle(
        model_version=_ANSWER["model_version"],
        features=FEATURE_NAMES,
        calibration=Calibration(1.0, 0.0),
        threshold=_ANSWER["threshold"],
        metrics={},
        training={},
        contract_fingerprint=fingerprint(),
        libraries={},
        files={},
    )
    return create_api(model=NoModel(bundle, _NoScores()))
