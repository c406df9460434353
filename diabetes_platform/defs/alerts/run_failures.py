"""The sensor that turns a failed run into an alert."""

import dagster as dg

from diabetes_platform.defs.alerts.alerts import send_alert
from diabetes_platform.defs.alerts.failures import describe_failure
from diabetes_platform.settings import PlatformSettings


@dg.run_failure_sensor(
    name="failure_alerts",
    description="Writes an alert for each failed run: log file, and webhook where configured.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    monitor_all_code_locations=True,
)
def failure_alerts(
    context: dg.RunFailureSensorContext, settings: dg.ResourceParam[PlatformSettings]
) -> None:
    """Alert on the run that failed."""
    alert = describe_failure(context.instance, context.dagster_run.run_id, settings.dagster)
    context.log.error(alert.text)
    # Where this raises, Dagster shows the tick as failed and does not try the run again.
    send_alert(alert, settings)
