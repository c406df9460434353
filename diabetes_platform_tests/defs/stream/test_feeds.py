"""Dead letters and windows from a real broker into the lake, by the sensors that ask for them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.stream.feeds import REJECTED_FEED, WINDOWS_FEED, Feed
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.describe import topic_key
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.defs.stream.following import Following
from diabetes_platform_tests.streaming.letters import SECRET, letter_headers, window_message
from diabetes_platform_tests.streaming.sink import own_topic

pytestmark = pytest.mark.integration
TODAY = datetime.now(UTC).date()
Follow = Callable[[Feed], Following]


@pytest.fixture
def follow(kafka: Kafka, tmp_path: Path) -> Iterator[Follow]:
    """Make a sensor of a feed that has never ticked; its topic is the test's own."""
    given = {"home": tmp_path, "kafka_servers": kafka.bootstrap_servers}
    settings = PlatformSettings.model_validate(given)
    with ExitStack() as stack:

        def made(feed: Feed) -> Following:
            name = stack.enter_context(own_topic(kafka))
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            return Following(settings, instance, kafka, replace(feed, topic=name))

        yield made


def rows(following: Following, *columns: str) -> list[dict[str, object]]:
    table = following.feed.destination.grown.table
    lake = Lake(following.settings.lake)
    return lake.stream(table, columns, {}).read_all().to_pylist()


def test_dead_letters_are_kept_once_with_their_bytes(follow: Follow) -> None:
    following = follow(REJECTED_FEED)
    following.put((b"1", SECRET), headers=letter_headers("age:missing", "bmi:not_a_number"))
    following.put((b"1", SECRET), headers=letter_headers("age:missing", offset=8))
    following.put((None, None))
    following.follow()
    following.cursor = None
    following.follow()
    found = rows(following, "message_value", "source_offset", "reasons")
    assert [row["message_value"] for row in found].count(SECRET) == 2
    assert {row["source_offset"] for row in found} == {7, 8, None}
    assert len(found) == 3


def test_the_reasons_of_a_day_are_told_and_no_value(follow: Follow) -> None:
    following = follow(REJECTED_FEED)
    for offset in range(3):
        following.put((b"1", SECRET), headers=letter_headers("age:missing", offset=offset))
    following.follow()
    told = following.metadata()
    assert (told["rows_added"], told["records_of_day"]) == (3, 3)
    assert "| `age:missing` | 3 |" in told["reasons"]
    assert "4711" not in str(told)
    assert "deletions" not in told


def test_windows_are_kept_by_days_and_summed(follow: Follow) -> None:
    following = follow(WINDOWS_FEED)
    following.put(window_message(0), days_ago=1)
    following.put(window_message(1), window_message(2, late=3, accepted=6))
    following.follow()
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    done = following.instance.get_materialized_partitions(following.feed.key)
    assert done == {yesterday, TODAY.isoformat()}
    told = following.metadata()
    assert (told["windows_of_day"], told["events_of_day"], told["late_of_day"]) == (2, 20, 4)


def test_each_sensor_observes_its_own_topic(follow: Follow) -> None:
    following = follow(WINDOWS_FEED)
    following.put(window_message(0))
    following.tick()
    (observed,) = following.observed
    assert observed.asset_key == topic_key(following.topic)
    assert observed.metadata["lag"].value == 1


def test_a_day_is_rebuilt_from_the_topic(follow: Follow) -> None:
    following = follow(REJECTED_FEED)
    following.put((b"1", SECRET), headers=letter_headers("age:missing"))
    following.follow()
    table = following.feed.destination.grown.table
    Lake(following.settings.lake).table(table).open().delete("source_offset = 7")
    assert following.rebuild(TODAY.isoformat()).success
    assert [row["source_offset"] for row in rows(following, "source_offset")] == [7]
