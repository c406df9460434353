"""Collecting a report from Dagster's instance, the model store and the stream's services."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from diabetes_platform.defs.alerts.freshness import evaluate_freshness, last_materialized
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.orchestration.describe import CANDIDATE, CHAMPION, CLEANED, RAW, SERVING
from diabetes_platform.report.latest_check_results import figures_in, latest_results
from diabetes_platform.report.report import (
    AssetReport,
    BatchReport,
    Figure,
    ModelReport,
    ReleaseDecision,
    Report,
)
from diabetes_platform.settings import PlatformSettings

MAX_MATERIALIZATIONS = 100
_MAX_DECISIONS = 20
_PLOT_TITLES = {
    "roc": "ROC curves of held-out patients; the dot is the threshold",
    "calibration": "Observed against predicted risk of held-out patients, above all risks",
    "importance": "Feature importance: share of gain, mean size of the contribution",
}
_Materialization = tuple[datetime, dict[str, dg.MetadataValue[Any]]]


def collect(
    settings: PlatformSettings, defs: dg.Definitions, instance: dg.DagsterInstance
) -> Report:
    """Return the current state. Raises StorageError, BundleError and errors of the event log."""
    collected_at = datetime.now(UTC)
    return Report(
        created_at=collected_at,
        batch=newest_batch(instance),
        assets=tuple(_asset_reports(settings, defs, instance, collected_at)),
        model=_champion(ModelStore(settings.models, settings.s3), instance),
        history=_release_history(instance),
        stream_issues=_stream_issues(settings),
        links=_links(settings),
    )


def newest_batch(instance: dg.DagsterInstance) -> BatchReport | None:
    """Return the batch that `raw/patients` read last; None before the first batch."""
    event = instance.get_latest_materialization_event(RAW)
    if event is None:
        return None
    raw, cleaned, served = (_latest_metadata(instance, key) for key in (RAW, CLEANED, SERVING))
    batch_id = str(raw["batch_id"])
    validated = cleaned if cleaned.get("batch_id") == batch_id else {}
    reasons: Mapping[str, int] = validated.get("reasons", {})
    return BatchReport(
        batch_id=batch_id,
        source=str(raw["source"]),
        received_at=datetime.fromtimestamp(event.timestamp, UTC),
        rows=int(raw["dagster/row_count"]),
        accepted=validated.get("accepted"),
        rejected=validated.get("rejected"),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        served=served.get("batch_id"),
        served_rows=served.get("dagster/row_count"),
    )


def _asset_reports(
    settings: PlatformSettings,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    collected_at: datetime,
) -> Iterator[AssetReport]:
    """Yield every asset that runs materialize, in topological order."""
    graph = defs.resolve_asset_graph()
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    checks = latest_results(defs, instance, settings.dagster)
    ordered = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)]
    for key in ordered:
        if not graph.get(key).is_materializable and key not in checks:
            continue
        at, policy = last_materialized(instance, key), specs[key].freshness_policy
        freshness, reason = evaluate_freshness(policy, at, collected_at)
        yield AssetReport(
            name=key.to_user_string(),
            description=specs[key].description or "",
            materialized_at=at,
            freshness=freshness,
            freshness_reason=reason,
            checks=checks.get(key, ()),
        )


def _champion(store: ModelStore, instance: dg.DagsterInstance) -> ModelReport | None:
    """Return the released model with its plots; None before the first release."""
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
        metrics=bundle.metrics,
        figures=_training_plots(instance, bundle.model_version),
    )


def _training_plots(instance: dg.DagsterInstance, version: str) -> tuple[Figure, ...]:
    for _, metadata in _materializations(instance, CANDIDATE):
        if metadata["model_version"].value == version:
            plots = figures_in(metadata)
            return tuple(Figure(_PLOT_TITLES.get(plot.alt, plot.alt), plot.uri) for plot in plots)
    return ()


def _release_history(instance: dg.DagsterInstance) -> tuple[ReleaseDecision, ...]:
    """Return the decisions about candidates, newest first.

    A daily batch repeats a decision: consecutive equal ones count once, with the earliest time.
    """
    history: list[ReleaseDecision] = []
    for decided_at, metadata in _materializations(instance, CHAMPION):
        decision = ReleaseDecision(
            decided_at=decided_at,
            version=str(metadata["model_version"].value),
            released=bool(metadata["released"].value),
            decision=str(metadata["decision"].value),
            auc=metadata["auc"].value if "auc" in metadata else None,
            brier=metadata["brier"].value if "brier" in metadata else None,
        )
        if history and _is_same(decision, history[-1]):
            history[-1] = decision
        else:
            history.append(decision)
    return tuple(history[:_MAX_DECISIONS])


def _is_same(decision: ReleaseDecision, other: ReleaseDecision) -> bool:
    return (decision.version, decision.decision) == (other.version, other.decision)


def _stream_issues(settings: PlatformSettings) -> tuple[tuple[str, str], ...] | None:
    from diabetes_platform.defs.alerts.stream import poll_health, poll_slot

    if settings.kafka_servers is None:
        return None
    issues = poll_health(settings)
    if settings.warehouse_url is not None:
        issues += poll_slot(settings.warehouse_url.get_secret_value(), None, now_ms=0)[1]
    return tuple((issue.subject, issue.problem) for issue in issues)


def _links(settings: PlatformSettings) -> tuple[tuple[str, str], ...]:
    links = {
        "Dagster": settings.dagster,
        "Data Docs": f"{settings.api}/data-docs/",
        "Page and API": settings.api,
        "Model card (JSON)": f"{settings.api}/model",
        "MinIO console": settings.storage_console_url,
        "Flink": settings.flink_url,
    }
    return tuple((name, url) for name, url in links.items() if url is not None)


def _latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    """Return the metadata of an asset's latest materialization, empty without any."""
    event = instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    if materialization is None:
        return {}
    return {name: entry.value for name, entry in materialization.metadata.items()}


def _materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[_Materialization]:
    """Return time and metadata of an asset's materializations, newest first."""
    records = instance.fetch_materializations(key, limit=MAX_MATERIALIZATIONS).records
    return [
        (datetime.fromtimestamp(record.timestamp, UTC), dict(materialization.metadata))
        for record in records
        if (materialization := record.asset_materialization) is not None
    ]
