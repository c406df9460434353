"""Latency from a message's timestamp to its materialization on the running platform."""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diabetes_platform.contract.topics import SINK_TOPIC
from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port
from diabetes_platform.streaming.topic import Topic, open_topic

AIMS = (8.0, 20.0)
_QUERY = """
query ($limit: Int!, $after: String!) {
  assetOrError(assetKey: {path: ["stream", "patients"]}) {
    ... on Asset {
      assetMaterializations(limit: $limit, afterTimestampMillis: $after) {
        timestamp runId
        metadataEntries { label ... on JsonMetadataEntry { jsonString } }
        runOrError { ... on Run { stats { ... on RunStatsSnapshot {
          enqueuedTime launchTime startTime endTime } } } }
      }
    }
  }
}
"""
_PHASES = ("requested (sensor)", "dequeued", "started (process)", "materialized")


@dataclass(frozen=True, slots=True)
class Message:
    """Seconds since 1970: the message's timestamp, then the end of each phase."""

    written: float
    phases: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The latency from writing to materialization."""
        return self.phases[-1] - self.written

    @property
    def parts(self) -> tuple[float, ...]:
        """Seconds in each phase."""
        starts = (self.written, *self.phases[:-1])
        return tuple(end - start for start, end in zip(starts, self.phases, strict=True))


def print_latency(minutes: float) -> None:
    """Print the latency of the runs of the last minutes; SystemExit if there are none."""
    settings = PlatformSettings()
    since_ms = str(int((time.time() - minutes * 60) * 1000))
    answer = DagsterClient(settings.dagster).query(_QUERY, limit=1000, after=since_ms)
    events = answer["assetOrError"].get("assetMaterializations", [])
    servers = f"{HOST}:{settings.port(Port.KAFKA)}"
    with open_topic(SINK_TOPIC, servers) as topic:
        messages = [message for event in events for message in _messages(topic, event)]
    if not messages:
        raise SystemExit(f"nothing was materialized in {minutes} minutes: run `diabetes load`")
    _print(messages, len(events))


def _messages(topic: Topic, event: dict[str, Any]) -> Iterator[Message]:
    stats = event["runOrError"]["stats"]
    ends = tuple(float(stats[name]) for name in ("enqueuedTime", "launchTime", "startTime"))
    phases = (*ends, float(event["timestamp"]) / 1000)
    metadata = {entry["label"]: entry.get("jsonString") for entry in event["metadataEntries"]}
    for text in json.loads(metadata["offsets"] or "[]"):
        for message in topic.read(topic.topic_id(), OffsetRange.parse(text)):
            yield Message(message.written_ms / 1000, phases)


def _print(messages: Sequence[Message], runs: int) -> None:
    print(f"\n{len(messages)} messages in {runs} runs; seconds.\n")
    print("| | p50 | p99 |")
    print("|---|---|---|")
    for index, name in enumerate(_PHASES):
        parts = [message.parts[index] for message in messages]
        print(f"| {name} | {_quantile(parts, 50):.2f} | {_quantile(parts, 99):.2f} |")
    seconds = [message.seconds for message in messages]
    print(f"| **all** | {_quantile(seconds, 50):.2f} | {_quantile(seconds, 99):.2f} |")
    print(f"| aim | {AIMS[0]:.0f} | {AIMS[1]:.0f} |")


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
