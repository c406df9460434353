"""Whatever ends or is away: nothing is lost, nothing is stored twice."""

import time
from pathlib import Path

import psycopg
import pytest

from diabetes_platform.contract.events import (
    SINK_TOPIC,
)
from diabetes_platform_tests.capture import Kafka, running
from diabetes_platform_tests.predicting import (
    Make,
    Predictions,
    Predictor,
    committed,
    send,
    wait_for,
)
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.streaming.sink import message
from serving.tests.bundles import make_bundle, release

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


def test_an_outage_of_the_database_is_waited_out_and_nothing_is_skipped(
    predictor: Predictor,
    broker: Kafka,
    database: ProvisionedServer,
    predictions: Predictions,
    first: int,
) -> None:
    patients = range(first, first + 50)
    database.server.stop()
    try:
        send(broker, [message(one, 1) for one in patients])
        wait_for(lambda: predictor.metric("failures_total", cause="database") >= 3)
        assert "database" in predictor.get("/ready").text
        assert predictor.get("/health").is_success
        wait_for(lambda: predictor.metric("lag_messages") == len(patients))
    finally:
        database.server.start()
    wait_for(lambda: len(predictions.of(*patients)) == len(patients), seconds=15)
    wait_for(predictor.works)


def test_an_outage_of_the_broker_is_survived(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [message(first, 1)])
    wait_for(lambda: predictions.of(first))
    broker.kill()
    time.sleep(2)
    broker.start()
    send(broker, [message(first + 1, 1)])
    wait_for(lambda: predictions.of(first + 1), seconds=60)
    assert predictor.works()


def test_killed_between_the_databases_commit_and_the_offsets_it_stores_nothing_twice(
    make: Make,
    broker: Kafka,
    database: ProvisionedServer,
    predictions: Predictions,
    first: int,
) -> None:
    patients = range(first, first + 40)
    victim = make("victim")
    with running(victim):
        wait_for(victim.works)
        wait_for(lambda: victim.partitions() == 4)
        with psycopg.connect(database.url("migrator")) as blocking:
            blocking.execute("LOCK TABLE serving.predictions IN SHARE MODE")
            send(broker, [message(one, 1) for one in patients])
            wait_for(lambda: waiting_for_a_lock(database))
            before = committed(broker)
            # Without a broker no offset is committed, however long the rest takes.
            broker.kill()
        try:
            wait_for(lambda: len(predictions.of(*patients)) > 0)
            victim.kill()
        finally:
            broker.start()
    stored = predictions.of(*patients)
    assert committed(broker) == before
    heir = make("heir")
    with running(heir):
        wait_for(lambda: len(predictions.of(*patients)) == len(patients))
        wait_for(lambda: heir.metric("replayed_total") >= len(stored))
        wait_for(lambda: heir.works() and heir.metric("lag_messages") == 0)
    after = predictions.of(*patients)
    assert [row for row in after if row in stored] == stored
    assert len(after) == len(patients)


def waiting_for_a_lock(database: ProvisionedServer) -> bool:
    with psycopg.connect(database.superuser_url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity WHERE usename = 'predictor'"
            " AND wait_event_type = 'Lock' AND query LIKE 'INSERT%'"
        )
        return found.fetchone() is not None


def test_two_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    predictor: Predictor, make: Make, broker: Kafka, predictions: Predictions, first: int
) -> None:
    other = make("other")
    with running(other):
        wait_for(lambda: (predictor.partitions(), other.partitions()) == (2, 2))
        patients = range(first, first + 400)
        send(broker, [message(one, 1) for one in patients])
        wait_for(lambda: len(predictions.of(*patients)) == len(patients))
        # They count once the database has the rows.
        wait_for(lambda: sum(shares(predictor, other)) == len(patients))
        assert min(shares(predictor, other)) > 0
        other.kill()
        later = range(first + 400, first + 800)
        send(broker, [message(one, 1) for one in later])
        wait_for(lambda: len(predictions.of(*later)) == len(later), seconds=30)
        wait_for(lambda: predictor.partitions() == 4)


def shares(*members: Predictor) -> list[float]:
    """How many predictions each of them has stored."""
    return [one.metric("predictions_total") for one in members]


def test_without_a_model_it_waits_and_with_one_it_goes_on(
    make: Make, broker: Kafka, predictions: Predictions, tmp_path: Path, first: int
) -> None:
    store = tmp_path / "models"
    waiting = make(models=store)
    with running(waiting):
        wait_for(lambda: "no model" in waiting.get("/ready").text)
        send(broker, [message(first, 1)])
        wait_for(lambda: waiting.metric("failures_total", cause="model") > 0)
        assert predictions.of(first) == []
        release(store, *make_bundle())
        wait_for(lambda: predictions.of(first))
        # A model store that is gone takes no model away.
        store.rename(tmp_path / "elsewhere")
        wait_for(lambda: waiting.metric("model_reload_failures_total") > 0)
        send(broker, [message(first + 1, 1)])
        wait_for(lambda: predictions.of(first + 1))


def test_asked_to_end_it_ends_with_code_0_its_offsets_committed(
    make: Make, broker: Kafka, predictions: Predictions, first: int
) -> None:
    ending = make()
    with running(ending):
        wait_for(ending.works)
        wait_for(lambda: ending.partitions() == 4)
        send(broker, [message(one, 1) for one in range(first, first + 20)])
        wait_for(lambda: len(predictions.of(*range(first, first + 20))) == 20)
        assert ending.end() == 0
        assert committed(broker) == [place.offset for place in broker.ends(SINK_TOPIC)]
