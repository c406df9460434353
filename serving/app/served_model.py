"""One released model, opened and verified: from measurements to an answer. Immutable.

A request reads it once and answers from it alone, so that no answer mixes two models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from pydantic import BaseModel

from diabetes_platform.contract.bundle import (
    MODEL_FILE,
    Bundle,
    BundleError,
    ChampionPointer,
    open_bundle,
)
from diabetes_platform.contract.fields import FEATURES, FIELDS_BY_NAME, RESULT_LABELS, Field
from serving.app.models import Contributions, ModelCard, ModelFeature, Prediction
from serving.app.scorer import Scorer
from serving.app.single_row import Row, ScorerError

_PROBES = 500


class Scores(Protocol):
    """What a model needs to be able to do; `Scorer` does it with LightGBM."""

    def score(self, row: Row, /) -> float:
        """Return the raw score of one row."""

    def score_all(self, rows: Sequence[Row], /) -> list[float]:
        """Return the raw score of each row."""

    def contributions(self, rows: Sequence[Row], /) -> list[list[float]]:
        """Return for each row the contribution of each column, then the bias."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A bundle and the scorer of its model; threads may share it."""

    bundle: Bundle
    scorer: Scores

    def predict(self, patient: BaseModel) -> Prediction:
        """Return the answer for one patient."""
        return self._answer(self.scorer.score(self._row(patient)))

    def predict_all(
        self, patients: Sequence[BaseModel], *, with_contributions: bool
    ) -> list[Prediction]:
        """Return the answer for each patient, on request with what moved it."""
        if not patients:
            return []
        rows = [self._row(patient) for patient in patients]
        answers = [self._answer(score) for score in self.scorer.score_all(rows)]
        if with_contributions:
            for answer, shares in zip(answers, self.scorer.contributions(rows), strict=True):
                answer["contributions"] = self._contributions(shares)
        return answers

    def card(self) -> ModelCard:
        """Return the bundle as the API shows it."""
        bundle = self.bundle
        return ModelCard(
            model_version=bundle.model_version,
            result_labels=list(RESULT_LABELS),
            threshold=bundle.threshold,
            features=[_feature(FIELDS_BY_NAME[name]) for name in bundle.features],
            calibration=asdict(bundle.calibration),
            metrics=bundle.metrics,
            training=bundle.training,
            libraries=bundle.libraries,
            files=bundle.files,
            contract_fingerprint=bundle.contract_fingerprint,
        )

    def _row(self, patient: BaseModel) -> Row:
        return list(map(vars(patient).__getitem__, self.bundle.features))

    def _answer(self, score: float) -> Prediction:
        bundle = self.bundle
        probability = bundle.calibration.probability(score)
        return {
            "result": RESULT_LABELS[probability >= bundle.threshold],
            "probability": probability,
            "threshold": bundle.threshold,
            "model_version": bundle.model_version,
        }

    def _contributions(self, shares: list[float]) -> Contributions:
        """Put raw shares on the calibrated scale, where they add up to the answer's log-odds."""
        slope, intercept = self.bundle.calibration.slope, self.bundle.calibration.intercept
        *features, bias = (slope * share for share in shares)
        return Contributions(
            bias=bias + intercept,
            features=dict(zip(self.bundle.features, features, strict=True)),
        )


def open_model(
    champion: ChampionPointer, files: Mapping[str, bytes], *, contract_fingerprint: str
) -> ServedModel:
    """Return the model in `files`, verified: hashes, contract, columns, scores. Else BundleError.

    Reads and scores for some milliseconds: not for the event loop.
    """
    bundle = open_bundle(champion, files, contract_fingerprint=contract_fingerprint)
    unknown = set(bundle.features) - {field.name for field in FEATURES}
    if unknown or not bundle.features:
        raise BundleError(f"features: given {sorted(unknown)}, allowed those of the contract")
    if not 0 <= bundle.threshold <= 1:
        raise BundleError(f"threshold: given {bundle.threshold}, allowed 0 to 1")
    try:
        scorer = Scorer(files[MODEL_FILE].decode(), bundle.features)
        rows = probe_rows(tuple(FIELDS_BY_NAME[name] for name in bundle.features))
        scorer.verify(rows)
    except (ScorerError, UnicodeDecodeError) as error:
        raise BundleError(f"{MODEL_FILE}: {error}") from error
    return ServedModel(bundle, scorer)


def probe_rows(fields: tuple[Field, ...]) -> list[Row]:
    """Return rows that try a model: the example, each field at its bounds and missing, many more.

    The many are spread over all allowed values by a seeded generator: the same in every process.
    """
    example = [float(field.example) for field in fields]
    rows: list[Row] = [example, [None] * len(fields)]
    for index, field in enumerate(fields):
        rows += [
            [*example[:index], value, *example[index + 1 :]]
            for value in (float(field.minimum), float(field.maximum), None)
        ]
    spread = np.random.default_rng(0).uniform(size=(_PROBES, len(fields)))
    return rows + [
        [
            field.minimum + part * (field.maximum - field.minimum)
            for field, part in zip(fields, row, strict=True)
        ]
        for row in spread.tolist()
    ]


def _feature(field: Field) -> ModelFeature:
    return ModelFeature(
        name=field.name,
        label=field.label,
        unit=field.unit,
        allowed=field.allowed_text,
        required=field.required,
    )
