"""The code location: every asset, check, job, schedule and sensor of the platform."""

from collections.abc import Callable, Sequence
from types import ModuleType

import dagster as dg

from diabetes_platform.defs import (
    balance,
    cleaned,
    drift,
    features,
    labels,
    live_calibration,
    model,
    raw,
    release,
    serving_table,
    shadow,
    skew,
    staging,
    staging_checks,
    stream_quality,
    waiting_labels,
)
from diabetes_platform.defs.automation import automated, retraining
from diabetes_platform.defs.feeds import FEEDS, Feed
from diabetes_platform.defs.freshness import build_stale_assets, policies_of
from diabetes_platform.defs.links import linked
from diabetes_platform.defs.maintenance import maintenance, maintenance_schedule
from diabetes_platform.defs.rejections import build_rejection_alerts
from diabetes_platform.defs.resources import build_resources
from diabetes_platform.defs.schedules import (
    batch,
    batch_schedule,
    monitoring,
    monitoring_schedule,
    retrain,
    stream_jobs,
)
from diabetes_platform.defs.sensors import build_failure_alerts
from diabetes_platform.defs.stream import build_stream_assets
from diabetes_platform.defs.stream_health import build_stream_health
from diabetes_platform.defs.stream_sensor import build_increments
from diabetes_platform.defs.topics import build_topics
from diabetes_platform.settings import PlatformSettings


def build_definitions(
    settings: Callable[[], PlatformSettings] = PlatformSettings,
    feeds: Sequence[Feed] = FEEDS,
) -> dg.Definitions:
    """Wire the code location.

    `settings` is called here for the schedules, and again whenever a step or sensor runs.
    `feeds` say which topics become which assets.
    """
    given = settings()
    data_modules = [raw, labels, cleaned, staging, staging_checks, serving_table, features]
    modules = [*data_modules, model, shadow, release]
    monitoring_modules = [balance, stream_quality, drift, skew, live_calibration, waiting_labels]
    assets = [*automated(_assets_of(modules)), *build_stream_assets(feeds)]
    stream_runs = given.kafka_servers is not None
    return dg.Definitions(
        assets=linked([*assets, *build_topics()], given),
        asset_checks=dg.load_asset_checks_from_modules([*modules, *monitoring_modules]),
        jobs=[batch, retrain, *stream_jobs, monitoring, maintenance, release.model_rollback],
        schedules=[
            batch_schedule(given.batch_schedule),
            monitoring_schedule(stream_runs=stream_runs),
            maintenance_schedule,
        ],
        sensors=[
            build_failure_alerts(settings),
            build_rejection_alerts(settings),
            *(build_increments(settings, feed) for feed in feeds),
            build_stream_health(settings),
            build_stale_assets(settings, policies_of(assets)),
            retraining(stream_runs=stream_runs),
        ],
        resources=build_resources(settings),
        executor=dg.in_process_executor,
    )


def _assets_of(modules: Sequence[ModuleType]) -> list[dg.AssetsDefinition]:
    loaded = dg.load_assets_from_modules(modules)
    return [each for each in loaded if isinstance(each, dg.AssetsDefinition)]


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location as Dagster loads it; importing this module reads no setting."""
    return build_definitions()
