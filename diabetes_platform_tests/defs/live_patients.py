"""Patients of the stream with the champion's stored answers, on a platform that has a model."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import STREAM_PATIENTS, TRAINING_SET
from diabetes_platform.lake.delta import Lake
from diabetes_platform.modelling.classifier import predict_proba
from diabetes_platform.modelling.store import ModelStore, ModelVersion
from diabetes_platform.modelling.training_set import FloatArray, training_set_from_arrow
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.lake.appending import append_rows

NOW = datetime.now(UTC)
TAKEN_IN = NOW - timedelta(hours=3)
SCORED = NOW - timedelta(hours=2)
CONFIRMED = NOW - timedelta(hours=1)


@dataclass(frozen=True)
class Live:
    """The patients of the training set as if the page had taken them in: features, outcomes."""

    platform: Platform
    model: ModelVersion
    features: FloatArray
    probabilities: FloatArray

    def stream(self, outcomes: list[int | None], **changed: list[object]) -> None:
        """Write the first patients to `stream/patients`, one for each outcome."""
        lake, day = Lake(self.platform.settings.lake), TAKEN_IN.date().isoformat()
        rows = [self._row(n, outcome, day, changed) for n, outcome in enumerate(outcomes)]
        append_rows(lake, STREAM_PATIENTS, rows)

    def predict(self, probabilities: FloatArray) -> None:
        """Store an answer of the champion for each patient."""
        names = "changed_at, captured_at, consumed_at, scored_at, stored_at, judged_at"
        with psycopg.connect(self.platform.url) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO serving.predictions (intake_id, source_lsn, model_version, "  # noqa: S608 - names of this test
                f"probability, result, contributions, {names}) "
                "VALUES (%s, %s, %s, %s, 'Normal', '{}', %s, %s, %s, %s, %s, %s)",
                [
                    [n, n, self.model.bundle.model_version, float(probability), *[SCORED] * 6]
                    for n, probability in enumerate(probabilities)
                ],
            )

    def _row(
        self, number: int, outcome: int | None, day: str, changed: dict[str, list[object]]
    ) -> dict[str, object]:
        values = [None if np.isnan(v) else float(v) for v in self.features[number]]
        measured: dict[str, object] = dict(zip(FEATURE_NAMES, values, strict=True))
        measured["pregnancies"] = int(self.features[number][0])
        return {
            "change_id": f"{number}-{number}",
            "day": day,
            "id": number,
            "op": "c",
            "lsn": number,
            "topic_id": "t",
            "kafka_partition": 0,
            "kafka_offset": number,
            "written_at": TAKEN_IN,
            "received_at": TAKEN_IN,
            "outcome": outcome,
            "outcome_recorded_at": None if outcome is None else CONFIRMED,
            **measured,
            **{name: values[number] for name, values in changed.items()},
        }


def live_of(platform: Platform) -> Live:
    """Return the patients of the platform's training set and its champion."""
    store = ModelStore(platform.settings.models)
    champion = store.champion()
    assert champion is not None
    model = store.read(champion.champion)
    table = Lake(platform.settings.lake).table(TRAINING_SET).open().to_pyarrow_table()
    features = training_set_from_arrow(table).features
    return Live(platform, model, features, predict_proba(model, features))
