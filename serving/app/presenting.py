"""From rows of the database to what the API shows: the stored answer with its hops."""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.fields import FEATURE_NAMES
from serving.app.champion import ChampionWatcher, StoreError
from serving.app.hops import hops, total
from serving.app.models import Contributions
from serving.app.patient_models import (
    PatientAnswer,
    PatientSummary,
    Received,
    StoredPrediction,
    links_of,
)
from serving.app.patients import Cursor

logger = logging.getLogger("serving.presenting")

_write_prediction = TypeAdapter(StoredPrediction).serializer.to_json
_MOST_THRESHOLDS = 1000


class Presenter:
    """Shows stored predictions; knows the threshold of each model that gave one."""

    def __init__(self, watcher: ChampionWatcher) -> None:
        self._watcher = watcher
        self._thresholds: dict[str, float] = {}

    async def patient(self, row: Mapping[str, Any]) -> PatientAnswer:
        """Return a patient as `patients.read` gives it."""
        answered = row["source_lsn"] is not None
        return PatientAnswer(
            id=row["id"],
            received_at=row["received_at"],
            state="answered" if answered else "waiting",
            measurements={name: row[name] for name in FEATURE_NAMES},
            outcome=row["outcome"],
            outcome_recorded_at=row["outcome_recorded_at"],
            prediction=await self.prediction(row) if answered else None,
            links=links_of(row["id"]),
        )

    async def prediction(self, row: Mapping[str, Any]) -> StoredPrediction:
        """Return the prediction in a row of a patient joined with a prediction."""
        version: str = row["model_version"]
        contributions: Contributions = row["contributions"]
        return StoredPrediction(
            patient_id=row["intake_id"],
            event_id=str(Cursor(row["source_lsn"], version)),
            result=row["result"],
            probability=row["probability"],
            threshold=await self._threshold(version),
            model_version=version,
            contributions=contributions,
            changed_at=row["changed_at"],
            stored_at=row["stored_at"],
            milliseconds=total(row),
            hops=hops(row),
        )

    async def event(self, row: Mapping[str, Any]) -> str:
        """Return the prediction in a row as the JSON text of an event."""
        return _write_prediction(await self.prediction(row)).decode()

    async def _threshold(self, version: str) -> float | None:
        """Return the threshold of a released model: a version's bundle never changes."""
        current = self._watcher.current
        if current is not None and current.bundle.model_version == version:
            return current.bundle.threshold
        if version not in self._thresholds:
            try:
                bundle = await self._watcher.read_bundle(version)
            except (BundleError, StoreError) as error:
                logger.warning("threshold of model %s not known: %s", version, error)
                return None
            if len(self._thresholds) >= _MOST_THRESHOLDS:
                self._thresholds.clear()
            self._thresholds[version] = bundle.threshold
        return self._thresholds[version]


def received(row: Mapping[str, Any]) -> Received:
    """Return the receipt for a patient just taken in."""
    return Received(
        id=row["id"],
        received_at=row["received_at"],
        state="waiting",
        links=links_of(row["id"]),
    )


def summary(row: Mapping[str, Any]) -> PatientSummary:
    """Return a patient as `patients.recent` gives it."""
    return PatientSummary(
        id=row["id"],
        received_at=row["received_at"],
        state="answered" if row["answered"] else "waiting",
        outcome_recorded=row["outcome_recorded"],
        links=links_of(row["id"]),
    )
