"""Response models from database rows: patients, stored predictions and their stage latencies."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.latency import DATABASE, STORED_STAGES, TOTAL, LatencyStage
from serving.app.champion import ChampionWatcher, StoreError
from serving.app.patients.queries import EventCursor
from serving.app.patients.schemas import (
    PatientDetail,
    PatientReceipt,
    PatientSummary,
    StageLatency,
    State,
    StoredPrediction,
    links_of,
)

logger = logging.getLogger("serving.patients")

LATENCY_STAGES = (DATABASE, *STORED_STAGES)
"""The stages of a prediction's latency, from the request to the stored row, in order."""

_TIMESTAMP_RESOLUTION = timedelta(milliseconds=1)
_THRESHOLD_SECONDS = 0.5
"""How long a response waits for a threshold from the model store."""


class Presenter:
    """Builds responses about stored predictions, with the threshold of each prediction's model."""

    def __init__(self, watcher: ChampionWatcher) -> None:
        self._watcher = watcher
        self._thresholds: dict[str, asyncio.Task[float | None]] = {}

    async def patient(self, row: Mapping[str, Any]) -> PatientDetail:
        """Return the patient in a row of `queries.get_patient`."""
        answered = row["source_lsn"] is not None
        return PatientDetail(
            **receipt(row, "answered" if answered else "waiting"),
            measurements={name: row[name] for name in FEATURE_NAMES},
            outcome=row["outcome"],
            outcome_recorded_at=row["outcome_recorded_at"],
            prediction=await self.prediction(row) if answered else None,
        )

    async def prediction(self, row: Mapping[str, Any]) -> StoredPrediction:
        """Return the prediction in a row that joins a patient with a prediction."""
        version: str = row["model_version"]
        return StoredPrediction(
            patient_id=row["intake_id"],
            event_id=str(EventCursor(row["source_lsn"], version)),
            result=row["result"],
            probability=row["probability"],
            threshold=await self._threshold(version),
            model_version=version,
            contributions=row["contributions"],
            changed_at=row["changed_at"],
            stored_at=row["stored_at"],
            milliseconds=latency_ms(row, TOTAL) or 0.0,
            hops=stage_latencies(row),
        )

    async def _threshold(self, version: str) -> float | None:
        """Return the threshold of a released model; the bundle of a version never changes."""
        current = self._watcher.current
        if current is not None and current.bundle.model_version == version:
            return current.bundle.threshold
        if version not in self._thresholds:
            self._thresholds[version] = asyncio.create_task(self._read_threshold(version))
        reading = self._thresholds[version]
        # Not cancelled: a later response uses its result.
        await asyncio.wait([reading], timeout=_THRESHOLD_SECONDS)
        if not reading.done():
            return None
        failed = reading.exception() is not None or reading.result() is None
        if failed and self._thresholds.get(version) is reading:
            del self._thresholds[version]
        return reading.result()

    async def _read_threshold(self, version: str) -> float | None:
        """Return the threshold of a model in the store; None if it cannot be read."""
        try:
            bundle = await self._watcher.read_bundle(version)
        except (BundleError, StoreError) as error:
            logger.warning("cannot read the threshold of model %s: %s", version, error)
            return None
        return bundle.threshold


def receipt(row: Mapping[str, Any], state: State) -> PatientReceipt:
    """Return the receipt for a patient in a row with its id."""
    patient_id = row["id"]
    links = links_of(patient_id)
    return PatientReceipt(id=patient_id, received_at=row["received_at"], state=state, links=links)


def summary(row: Mapping[str, Any]) -> PatientSummary:
    """Return the patient in a row of `queries.list_patients`."""
    state: State = "answered" if row["answered"] else "waiting"
    return PatientSummary(**receipt(row, state), outcome_recorded=row["outcome_recorded"])


def stage_latencies(row: Mapping[str, Any]) -> list[StageLatency]:
    """Return the latency of each stage of a prediction joined with its patient, in order."""
    timestamps = {**row, "entered_at": _request_time(row)}
    return [
        StageLatency(name=stage.name, milliseconds=latency_ms(timestamps, stage))
        for stage in LATENCY_STAGES
    ]


def _request_time(row: Mapping[str, Any]) -> datetime | None:
    """Return the time of the request that made the change: the intake or a later outcome."""
    received: datetime | None = row["received_at"]
    outcome_recorded: datetime | None = row["outcome_recorded_at"]
    changed: datetime | None = row["changed_at"]
    if outcome_recorded is None or changed is None:
        return received
    # The commit time is truncated to milliseconds, so it may precede its own request.
    return received if outcome_recorded - changed >= _TIMESTAMP_RESOLUTION else outcome_recorded


def latency_ms(timestamps: Mapping[str, Any], stage: LatencyStage) -> float | None:
    """Return the latency of a stage in milliseconds; None if a timestamp is missing."""
    start: datetime | None = timestamps.get(stage.start)
    end: datetime | None = timestamps.get(stage.end)
    if start is None or end is None:
        return None
    # Different processes set the timestamps, and some are truncated: never negative.
    return max(0.0, round((end - start) / timedelta(milliseconds=1), 3))
