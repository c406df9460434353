"""The champion from the model store, its plots and the models' history from Dagster's event log."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.orchestration.describe import CANDIDATE, CHAMPION
from diabetes_platform.report.checks import figures_in
from diabetes_platform.report.content import Candidacy, Figure, Metric, ModelReport

MOST = 100
"""So many materializations are looked at."""
_SHOWN = 20
_PLOTS = {
    "roc": "ROC curves of held-out patients; the dot is the threshold",
    "calibration": "Observed against predicted risk of held-out patients, above all risks",
    "importance": "What the model relies on: share of gain, mean size of the contribution",
}


def champion_of(store: ModelStore, instance: dg.DagsterInstance) -> ModelReport | None:
    """Return the released model; None where there is none. Raises what the store raises."""
    current = store.champion()
    if current is None:
        return None
    bundle = store.read(current.champion).bundle
    return ModelReport(
        version=bundle.model_version,
        threshold=bundle.threshold,
        features=bundle.features,
        rows=int(bundle.training["rows"]),
        prevalence=bundle.training.get("prevalence"),
        metrics=tuple(Metric(name, **estimate) for name, estimate in bundle.metrics.items()),
        figures=_figures(instance, bundle.model_version),
    )


def history(instance: dg.DagsterInstance) -> tuple[Candidacy, ...]:
    """Return each time that another model or another decision came out, the newest first."""
    found: list[Candidacy] = []
    for at, metadata in _materializations(instance, CHAMPION):
        one = _candidacy(at, {name: entry.value for name, entry in metadata.items()})
        if found and (one.version, one.decision) == (found[-1].version, found[-1].decision):
            # The same again, told daily: what counts is when it was first so.
            found[-1] = one
        else:
            found.append(one)
    return tuple(found[:_SHOWN])


def _candidacy(at: datetime, metadata: dict[str, Any]) -> Candidacy:
    return Candidacy(
        decided_at=at,
        version=str(metadata["model_version"]),
        released=bool(metadata["released"]),
        decision=str(metadata["decision"]),
        auc=metadata.get("auc"),
        brier=metadata.get("brier"),
    )


def _figures(instance: dg.DagsterInstance, version: str) -> tuple[Figure, ...]:
    """Return the plots that were made when this version was trained."""
    for _, metadata in _materializations(instance, CANDIDATE):
        if metadata["model_version"].value == version:
            found = figures_in(metadata)
            return tuple(Figure(_PLOTS.get(one.alt, one.alt), one.uri) for one in found)
    return ()


def _materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> list[tuple[datetime, dict[str, dg.MetadataValue[Any]]]]:
    """Return when an asset was made and what was reported of it, the newest first."""
    records = instance.fetch_materializations(key, limit=MOST).records
    return [
        (datetime.fromtimestamp(record.timestamp, UTC), dict(materialization.metadata))
        for record in records
        if (materialization := record.asset_materialization) is not None
    ]
