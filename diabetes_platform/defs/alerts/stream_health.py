"""The sensor that alerts when a service of the stream stays ill: once, and once when it is well."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import dagster as dg

from diabetes_platform.defs.alerts.alerts import tell
from diabetes_platform.defs.stream.assets import NO_STREAM
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.troubles import Change, Lasting, Trouble, follow


@dataclass(frozen=True, slots=True)
class TroubleAlert:
    """What stays ill, a service of the stream or an asset that is stale, or is well again."""

    state: Literal["raised", "resolved"]
    incident: str
    subject: str
    trouble: str
    url: str
    time: str

    @property
    def identity(self) -> tuple[str, str]:
        """By what it is known in the log file."""
        return "incident", self.incident

    @property
    def text(self) -> str:
        """The alert in one line, as a chat shows it."""
        if self.state == "resolved":
            return f"resolved: {self.subject} is well again ({self.url})"
        return f"{self.subject} {self.trouble} ({self.url})"


def alerts_of(change: Change, dagster_url: str) -> list[TroubleAlert]:
    """Return an alert for each trouble that began or ended.

    The same trouble gives the same `incident`, so that an alert sent again is known.
    """
    states: tuple[tuple[Literal["raised", "resolved"], tuple[Lasting, ...]], ...] = (
        ("raised", change.began),
        ("resolved", change.ended),
    )
    return [
        TroubleAlert(
            state=state,
            incident=f"{state}: {one.subject} since {one.since_ms}",
            subject=one.subject,
            trouble=one.text,
            url=f"{dagster_url}/automation",
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        for state, lasting in states
        for one in lasting
    ]


def look(settings: PlatformSettings) -> list[Trouble]:
    """Ask each service that the settings name how it is."""
    from diabetes_platform.streaming.health import (
        connector_troubles,
        job_troubles,
        lag_troubles,
    )

    found: list[Trouble] = []
    if settings.connect_url is not None:
        found += connector_troubles(settings.connect_url)
    if settings.flink_url is not None:
        found += job_troubles(settings.flink_url)
    if settings.kafka_servers is not None:
        found += lag_troubles(settings.kafka_servers)
    if settings.warehouse_url is not None:
        found += _slot_troubles(settings.warehouse_url.get_secret_value())
    return found


@dg.sensor(
    name="stream_health",
    description="Writes an alert when the connector, the stream's job, the predictor's lag or "
    "the replication slot stays ill for a minute, and one when it is well again.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
)
def stream_health(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[PlatformSettings]
) -> dg.SkipReason:
    """Alert on troubles that last, and on their end."""
    if settings.kafka_servers is None:
        return dg.SkipReason(NO_STREAM)
    troubles = look(settings)
    known, change = follow(read_cursor(context.cursor), troubles, time.time_ns() // 1_000_000)
    tell(context, alerts_of(change, settings.dagster), settings)
    context.update_cursor(json.dumps([asdict(one) for one in known]))
    said = "; ".join(f"{one.subject} {one.text}" for one in troubles)
    return dg.SkipReason(said or "the services of the stream are well")


def read_cursor(text: str | None) -> list[Lasting]:
    """Return the troubles that the last tick knew."""
    return [Lasting(**one) for one in json.loads(text or "[]")]


def _slot_troubles(warehouse_url: str) -> Iterable[Trouble]:
    import psycopg

    from diabetes_platform.warehouse.replication import SLOT, read_slot, slot_warning

    try:
        with psycopg.connect(warehouse_url, connect_timeout=5) as connection:
            said = slot_warning(read_slot(connection), connection.info.dbname)
    except psycopg.OperationalError:
        return [Trouble("PostgreSQL", "does not answer")]
    prefix = f"replication slot {SLOT}"
    return [] if said is None else [Trouble(prefix, said.removeprefix(prefix).strip())]
