"""Dead letters and windows from a real broker into the lake."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.stream.assets import REJECTED_ASSET, WINDOWS_ASSET, StreamAsset
from diabetes_platform.orchestration.describe import topic_key
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.defs.stream.harness import Harness
from diabetes_platform_tests.streaming.letters import SECRET, letter_headers, window_message
from diabetes_platform_tests.streaming.sink import own_topic

pytestmark = pytest.mark.integration
TODAY = datetime.now(UTC).date()
MakeHarness = Callable[[StreamAsset], Harness]


@pytest.fixture
def harness_of(kafka: Kafka, tmp_path: Path) -> Iterator[MakeHarness]:
    """Return a function from an asset to its harness, with a topic that the test owns."""
    settings = PlatformSettings.model_validate(
        {"home": tmp_path, "kafka_servers": kafka.bootstrap_servers}
    )
    with ExitStack() as stack:

        def make(stream_asset: StreamAsset) -> Harness:
            name = stack.enter_context(own_topic(kafka))
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            return Harness(settings, instance, kafka, replace(stream_asset, topic=name))

        yield make


def test_keeps_every_dead_letter_once_with_its_bytes(harness_of: MakeHarness) -> None:
    harness = harness_of(REJECTED_ASSET)
    harness.put((b"1", SECRET), headers=letter_headers("age:missing", "bmi:not_a_number"))
    harness.put((b"1", SECRET), headers=letter_headers("age:missing", offset=8))
    harness.put((None, None))
    harness.ingest_all()
    harness.cursor = None
    harness.ingest_all()
    rows = harness.rows("message_value", "source_offset", "reasons")
    assert [row["message_value"] for row in rows].count(SECRET) == 2
    assert {row["source_offset"] for row in rows} == {7, 8, None}
    assert len(rows) == 3


def test_metadata_counts_the_reasons_of_a_day_and_shows_no_value(harness_of: MakeHarness) -> None:
    harness = harness_of(REJECTED_ASSET)
    for offset in range(3):
        harness.put((b"1", SECRET), headers=letter_headers("age:missing", offset=offset))
    harness.ingest_all()
    metadata = harness.metadata()
    assert (metadata["rows_added"], metadata["records_of_day"]) == (3, 3)
    assert "| `age:missing` | 3 |" in metadata["reasons"]
    assert "4711" not in str(metadata)
    assert "deletions" not in metadata


def test_keeps_windows_by_day_and_sums_them(harness_of: MakeHarness) -> None:
    harness = harness_of(WINDOWS_ASSET)
    harness.put(window_message(0), days_ago=1)
    harness.put(window_message(1), window_message(2, late=3, accepted=6))
    harness.ingest_all()
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    materialized = harness.instance.get_materialized_partitions(harness.stream_asset.key)
    assert materialized == {yesterday, TODAY.isoformat()}
    metadata = harness.metadata()
    counts = tuple(metadata[f"{name}_of_day"] for name in ("windows", "events", "late"))
    assert counts == (2, 20, 4)


def test_each_sensor_observes_its_own_topic(harness_of: MakeHarness) -> None:
    harness = harness_of(WINDOWS_ASSET)
    harness.put(window_message(0))
    harness.tick()
    (observation,) = harness.observations
    assert observation.asset_key == topic_key(harness.topic)
    assert observation.metadata["lag"].value == 1


def test_rebuilds_a_day_from_the_topic(harness_of: MakeHarness) -> None:
    harness = harness_of(REJECTED_ASSET)
    harness.put((b"1", SECRET), headers=letter_headers("age:missing"))
    harness.ingest_all()
    harness.lake.table(REJECTED_ASSET.topic_table.contract).open().delete("source_offset = 7")
    assert harness.rebuild(TODAY.isoformat()).success
    assert harness.rows("source_offset") == [{"source_offset": 7}]
