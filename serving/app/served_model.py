"""A released model, opened, verified and ready to predict.

`ServedModel` is immutable. A request reads the current model once and uses no other, so no response
mixes two models. `champion` decides which model is current.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import Field as PydanticField
from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from diabetes_platform.contract.bundle import (
    MODEL_FILE,
    Bundle,
    BundleError,
    ChampionPointer,
    open_bundle,
)
from diabetes_platform.contract.fields import (
    FEATURE_NAMES,
    FIELDS_BY_NAME,
    RESULT_LABELS,
    Field,
)
from serving.app.scorer import Row, Scorer, ScorerError

_RANDOM_PROBES = 500

Measurements = Mapping[str, Any]
"""A validated patient: its measurements by name, None if missing."""
Probability = Annotated[float, PydanticField(ge=0, le=1)]


class Contributions(TypedDict):
    """SHAP values in log-odds: `bias` plus all `features` is the log-odds of the probability."""

    bias: float
    features: dict[str, float]


class Prediction(TypedDict):
    """The prediction for one patient; `result` is "Diabetes" from the threshold upwards."""

    result: Annotated[
        str, WithJsonSchema({"type": "string", "enum": list(RESULT_LABELS), "title": "Result"})
    ]
    probability: Annotated[
        Probability, PydanticField(description="Risk of diabetes within 5 years.")
    ]
    threshold: Probability
    model_version: str
    contributions: NotRequired[Contributions]


class ModelFeature(TypedDict):
    """A measurement that the model uses."""

    name: str
    label: str
    unit: str
    allowed: str
    required: bool


class ModelCard(TypedDict):
    """The model in use, as its bundle describes it."""

    model_version: str
    result_labels: list[str]
    threshold: Probability
    features: list[ModelFeature]
    calibration: dict[str, float]
    metrics: dict[str, dict[str, float]]
    training: dict[str, Any]
    libraries: dict[str, str]
    files: dict[str, str]
    contract_fingerprint: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A bundle and the scorer of its model. Thread-safe."""

    bundle: Bundle
    scorer: Scorer

    def predict(self, patient: Measurements) -> Prediction:
        """Return the prediction for one patient, without contributions."""
        return self._prediction(self.scorer.score(self._row(patient)))

    def predict_all(
        self, patients: Sequence[Measurements], *, with_contributions: bool
    ) -> list[Prediction]:
        """Return one prediction per patient, in order."""
        if not patients:
            return []
        rows = [self._row(patient) for patient in patients]
        predictions = [self._prediction(score) for score in self.scorer.score_all(rows)]
        if with_contributions:
            contributions = self.scorer.contributions(rows)
            for prediction, values in zip(predictions, contributions, strict=True):
                prediction["contributions"] = self._calibrated(values)
        return predictions

    def card(self) -> ModelCard:
        """Return the description of the model for `GET /model`."""
        bundle = self.bundle
        return ModelCard(
            model_version=bundle.model_version,
            result_labels=list(RESULT_LABELS),
            threshold=bundle.threshold,
            features=[
                ModelFeature(
                    name=field.name,
                    label=field.label,
                    unit=field.unit,
                    allowed=field.allowed_text,
                    required=field.required,
                )
                for field in map(FIELDS_BY_NAME.__getitem__, bundle.features)
            ],
            calibration=asdict(bundle.calibration),
            metrics=bundle.metrics,
            training=bundle.training,
            libraries=bundle.libraries,
            files=bundle.files,
            contract_fingerprint=bundle.contract_fingerprint,
        )

    def _row(self, patient: Measurements) -> Row:
        return list(map(patient.__getitem__, self.bundle.features))

    def _prediction(self, score: float) -> Prediction:
        bundle = self.bundle
        probability = bundle.calibration.probability(score)
        return {
            "result": RESULT_LABELS[probability >= bundle.threshold],
            "probability": probability,
            "threshold": bundle.threshold,
            "model_version": bundle.model_version,
        }

    def _calibrated(self, raw_values: list[float]) -> Contributions:
        """Return SHAP values on the calibrated scale, where they add up to the log-odds."""
        slope, intercept = self.bundle.calibration.slope, self.bundle.calibration.intercept
        *features, bias = (slope * value for value in raw_values)
        return Contributions(
            bias=bias + intercept, features=dict(zip(self.bundle.features, features, strict=True))
        )


def open_model(champion: ChampionPointer, files: Mapping[str, bytes]) -> ServedModel:
    """Return the model in `files` after checking hashes, contract, columns and scores.

    Raises BundleError if a check fails. Blocks for some milliseconds: do not call it on the event
    loop.
    """
    bundle = open_bundle(champion, files)
    unknown = set(bundle.features) - set(FEATURE_NAMES)
    if unknown:
        raise BundleError(f"features: {sorted(unknown)} are not in the contract")
    if not bundle.features:
        raise BundleError("features: the list is empty")
    if not 0 <= bundle.threshold <= 1:
        raise BundleError(f"threshold is {bundle.threshold}; allowed: 0 to 1")
    try:
        scorer = Scorer(files[MODEL_FILE].decode(), bundle.features)
        scorer.verify(probe_rows([FIELDS_BY_NAME[name] for name in bundle.features]))
    except (ScorerError, UnicodeDecodeError) as error:
        raise BundleError(f"{MODEL_FILE}: {error}") from error
    return ServedModel(bundle, scorer)


def open_in_subprocess(champion: ChampionPointer, files: Mapping[str, bytes]) -> None:
    """Open the model in another process; raise BundleError if that fails or kills the process.

    LightGBM kills its process on some malformed texts, and a matching hash only proves that a text
    was released. Such a text must not stop a running API, nor one that is starting.

    Blocks for about a second: do not call it on the event loop. The other process ends after this
    task, even if this process is killed in the meantime.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_send_open_error, args=(sender, champion, dict(files)), daemon=True
    )
    process.start()
    sender.close()
    try:
        error: Exception | None = receiver.recv()
    except EOFError:
        raise BundleError(f"{MODEL_FILE}: LightGBM ends the process that reads it") from None
    finally:
        receiver.close()
        process.join()
    if error is not None:
        raise error


def _send_open_error(
    sender: Connection, champion: ChampionPointer, files: dict[str, bytes]
) -> None:
    open_error: Exception | None = None
    try:
        open_model(champion, files)
    except Exception as error:  # noqa: BLE001 - raised by the parent process
        open_error = error
    # The parent process may have ended.
    with suppress(BrokenPipeError):
        sender.send(open_error)


def probe_rows(fields: Sequence[Field]) -> list[Row]:
    """Return rows to verify a model with.

    They are the example, each field at its bounds and missing, and random rows over all allowed
    values from a fixed seed: the same in every process.
    """
    example = [float(field.example) for field in fields]
    rows: list[Row] = [example, [None] * len(fields)]
    for index, field in enumerate(fields):
        rows += [
            [*example[:index], value, *example[index + 1 :]]
            for value in (field.minimum, field.maximum, None)
        ]
    low, high = [field.minimum for field in fields], [field.maximum for field in fields]
    random = np.random.default_rng(0).uniform(low, high, (_RANDOM_PROBES, len(fields)))
    return [*rows, *random.tolist()]
