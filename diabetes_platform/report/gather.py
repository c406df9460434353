"""Everything that a report says, asked of Dagster's instance, the model store and the stream."""

from datetime import UTC, datetime

import dagster as dg

from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.report.assets import assets_of
from diabetes_platform.report.batches import newest_batch
from diabetes_platform.report.checks import latest_results
from diabetes_platform.report.content import Report, StreamReport
from diabetes_platform.report.models import champion_of, history
from diabetes_platform.settings import PlatformSettings


def gather(
    settings: PlatformSettings, defs: dg.Definitions, instance: dg.DagsterInstance
) -> Report:
    """Return the state of now. Raises StorageError, BundleError and what the event log raises."""
    now = datetime.now(UTC)
    return Report(
        made_at=now,
        batch=newest_batch(instance),
        assets=assets_of(defs, instance, latest_results(defs, instance, settings.dagster), now),
        model=champion_of(ModelStore(settings.models, settings.s3), instance),
        history=history(instance),
        stream=_stream(settings),
        links=_links(settings),
    )


def _stream(settings: PlatformSettings) -> StreamReport:
    from diabetes_platform.defs.alerts.stream_health import poll_health

    if settings.kafka_servers is None:
        return StreamReport(asked=False)
    issues = poll_health(settings)
    return StreamReport(True, tuple((issue.subject, issue.problem) for issue in issues))


def _links(settings: PlatformSettings) -> tuple[tuple[str, str], ...]:
    """Return where more is to be seen; the stream's services where there is a stream."""
    found = [
        ("Dagster", settings.dagster),
        ("Data Docs", f"{settings.api}/data-docs/"),
        ("Page and API", settings.api),
        ("Model card (JSON)", f"{settings.api}/model"),
    ]
    if settings.storage_console_url is not None:
        found.append(("MinIO console", settings.storage_console_url))
    if settings.flink_url is not None:
        found.append(("Flink", settings.flink_url))
    return tuple(found)
