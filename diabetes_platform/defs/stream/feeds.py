"""The assets that the stream's topics become: key, topic, table, sensor and job of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from diabetes_platform.contract.events import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.stream_quality import rejections_of_day, windows_of_day
from diabetes_platform.orchestration.describe import (
    DAILY,
    REJECTED,
    REJECTED_POOL,
    STREAM,
    STREAM_POOL,
    WINDOWS,
    WINDOWS_POOL,
)
from diabetes_platform.orchestration.figures import counts_markdown
from diabetes_platform.streaming import destinations
from diabetes_platform.streaming.destinations import Destination

_AT_ONCE_SECONDS = 1
"""The daemon itself looks every five seconds."""
_UNHURRIED_SECONDS = 300
"""Nobody waits for these: alerts of dead letters have a sensor of their own, and a run costs a
process."""
MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class Feed:
    """An asset that a topic becomes, by the day (UTC) on which Flink wrote the message.

    `told` says more of a day than its rows. The sensor looks every `seconds` and observes the
    topic, and those of `observed`.
    """

    key: dg.AssetKey
    topic: str
    destination: Destination
    description: str
    pool: str
    sensor: str
    job: str
    seconds: int
    freshness: dg.FreshnessPolicy | None
    told: Callable[[Lake, str], Mapping[str, Any]] = lambda _lake, _day: {}
    observed: tuple[str, ...] = ()


def _rejections_told(lake: Lake, day: str) -> dict[str, Any]:
    found = rejections_of_day(lake, day)
    return {
        "records_of_day": found.records,
        "reasons": counts_markdown(found.reasons, "reason", "records", MOST_REASONS),
    }


def _windows_told(lake: Lake, day: str) -> dict[str, Any]:
    found = windows_of_day(lake, day)
    counts = {name: getattr(found, name) for name in ("events", "accepted", "rejected", "late")}
    return {"windows_of_day": found.windows, **{f"{n}_of_day": c for n, c in counts.items()}}


PATIENTS_FEED = Feed(
    STREAM,
    SINK_TOPIC,
    destinations.PATIENTS,
    "Every change that the stream let through, deletions too, by the day (UTC) on "
    "which Flink wrote it. Each change once; its commit says which offsets the table has.",
    pool=STREAM_POOL,
    sensor="stream_increments",
    job="stream",
    seconds=_AT_ONCE_SECONDS,
    freshness=DAILY,
    observed=(CDC_TOPIC,),
)
REJECTED_FEED = Feed(
    REJECTED,
    REJECTED_TOPIC,
    destinations.REJECTED,
    "Every dead letter of the stream, by the day (UTC) on which it was written: original bytes, "
    "all reasons, where the original lies. Holds patients' values.",
    pool=REJECTED_POOL,
    sensor="rejected_increments",
    job="stream_rejected",
    seconds=_UNHURRIED_SECONDS,
    # That nothing is rejected is no news.
    freshness=None,
    told=_rejections_told,
)
WINDOWS_FEED = Feed(
    WINDOWS,
    WINDOWED_TOPIC,
    destinations.WINDOWS,
    "Counts and means of each minute of event time, by the day (UTC) on which Flink wrote them. "
    "No patient in them.",
    pool=WINDOWS_POOL,
    sensor="windows_increments",
    job="stream_windows",
    seconds=_UNHURRIED_SECONDS,
    freshness=DAILY,
    told=_windows_told,
)
FEEDS = (PATIENTS_FEED, REJECTED_FEED, WINDOWS_FEED)
