"""The code location: every asset, check, job, schedule and sensor of the platform.

Everything below `defs/` is loaded. This module adds the definitions that depend on a setting.
"""

import warnings
from collections.abc import Callable

import dagster as dg

from diabetes_platform.defs.batch.jobs import batch_schedule, retraining
from diabetes_platform.defs.monitoring.jobs import monitoring_schedule
from diabetes_platform.orchestration.links import with_links
from diabetes_platform.orchestration.resources import build_resources
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


def build_definitions(
    load_settings: Callable[[], PlatformSettings] = PlatformSettings,
) -> dg.Definitions:
    """Return the code location for the settings that `load_settings` returns.

    `load_settings` is called here for the schedules and links, and again by every step and sensor.
    """
    settings = load_settings()
    stream_runs = settings.kafka_servers is not None
    configured = dg.Definitions(
        schedules=[
            batch_schedule(settings.batch_schedule),
            monitoring_schedule(stream_runs=stream_runs),
        ],
        sensors=[retraining(stream_runs=stream_runs)],
        resources=build_resources(load_settings),
        executor=dg.in_process_executor,
    )
    loaded = dg.load_from_defs_folder(path_within_project=PROJECT_ROOT)
    merged = dg.Definitions.merge(loaded, configured)
    with warnings.catch_warnings():
        # This method is a preview feature of Dagster.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return merged.map_resolved_asset_specs(func=lambda spec: with_links(spec, settings))


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location as Dagster loads it; importing this module reads no setting."""
    return build_definitions()
