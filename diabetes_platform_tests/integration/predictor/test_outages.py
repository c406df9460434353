"""Outages of database, broker, model store and predictor: nothing is lost or stored twice."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from diabetes_platform.contract.topics import PREDICTOR_GROUP, SINK_TOPIC
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.capture import TOOLS, Kafka, running
from diabetes_platform_tests.predictors import (
    PARTITIONS,
    Predictions,
    Predictor,
    PredictorFactory,
    assigned_partitions,
    committed_offsets,
    send,
)
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.streaming.sink import message
from serving.tests.bundles import make_bundle, release

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

MEMBER = "diabetes_platform_tests.integration.predictor.group_member"
RECOVERED_SECONDS = 30.0


def test_retries_during_an_outage_of_the_database_and_skips_nothing(
    predictor: Predictor,
    broker: Kafka,
    database: ProvisionedServer,
    predictions: Predictions,
    first: int,
) -> None:
    patients = range(first, first + 50)
    database.server.stop()
    try:
        send(broker, [message(patient, 1) for patient in patients])
        wait_until(lambda: predictor.metric("failures_total", cause="database") >= 3, timeout=60)
        assert "database" in predictor.get("/ready").text
        assert predictor.get("/health").is_success
        wait_until(lambda: predictor.metric("lag_messages") == len(patients), timeout=60)
    finally:
        database.server.start()
    wait_until(lambda: len(predictions.of(*patients)) == len(patients), timeout=15)
    wait_until(predictor.works, timeout=60)


def test_continues_after_an_outage_of_the_broker(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [message(first, 1)])
    wait_until(lambda: bool(predictions.of(first)), timeout=60)
    broker.kill()
    time.sleep(2)
    broker.start()
    send(broker, [message(first + 1, 1)])
    wait_until(lambda: bool(predictions.of(first + 1)), timeout=60)
    assert predictor.works()


def test_a_deleted_group_is_there_again_and_repeats_no_prediction(
    create_predictor: PredictorFactory, broker: Kafka, predictions: Predictions, first: int
) -> None:
    patients = range(first, first + 40)
    stopped = create_predictor("stopped")
    with running(stopped):
        send(broker, [message(patient, 1) for patient in patients])
        wait_until(lambda: len(predictions.of(*patients)) == len(patients), timeout=60)
        assert stopped.terminate() == 0
    stored = predictions.of(*patients)
    broker.admin.delete_consumer_groups([PREDICTOR_GROUP])[PREDICTOR_GROUP].result(30)
    assert max(committed_offsets(broker)) < 0
    successor = create_predictor("successor")
    with running(successor):
        wait_until(lambda: successor.works() and successor.metric("lag_messages") == 0, timeout=60)
        wait_until(lambda: max(committed_offsets(broker)) > 0, timeout=60)
        assert assigned_partitions(broker) == PARTITIONS
        assert successor.metric("replayed_total") >= len(patients)
    assert predictions.of(*patients) == stored


def test_is_not_ready_while_the_broker_is_down(predictor: Predictor, broker: Kafka) -> None:
    broker.kill()
    try:
        # The session times out, and the client revokes its partitions.
        wait_until(lambda: predictor.partitions() == 0, timeout=60)
        for _ in range(3):
            assert not predictor.works()
            time.sleep(1)
        assert "no partition is assigned" in predictor.get("/ready").text
    finally:
        broker.start()
    wait_until(predictor.works, timeout=RECOVERED_SECONDS)
    assert predictor.partitions() == PARTITIONS


def test_stores_nothing_twice_when_killed_between_database_commit_and_offset_commit(
    create_predictor: PredictorFactory,
    broker: Kafka,
    database: ProvisionedServer,
    predictions: Predictions,
    first: int,
) -> None:
    patients = range(first, first + 40)
    killed = create_predictor("killed")
    with running(killed):
        wait_until(killed.works, timeout=60)
        wait_until(lambda: killed.partitions() == PARTITIONS, timeout=60)
        with psycopg.connect(database.url("migrator")) as blocking:
            blocking.execute("LOCK TABLE serving.predictions IN SHARE MODE")
            send(broker, [message(patient, 1) for patient in patients])
            wait_until(lambda: is_waiting_for_a_lock(database), timeout=60)
            offsets = committed_offsets(broker)
            # Without a broker the offsets cannot be committed.
            broker.kill()
        try:
            wait_until(lambda: len(predictions.of(*patients)) > 0, timeout=60)
            killed.kill()
        finally:
            broker.start()
    stored = predictions.of(*patients)
    assert committed_offsets(broker) == offsets
    successor = create_predictor("successor")
    with running(successor):
        wait_until(lambda: len(predictions.of(*patients)) == len(patients), timeout=60)
        wait_until(lambda: successor.metric("replayed_total") >= len(stored), timeout=60)
        wait_until(lambda: successor.works() and successor.metric("lag_messages") == 0, timeout=60)
    rows = predictions.of(*patients)
    assert [row for row in rows if row in stored] == stored
    assert len(rows) == len(patients)


def is_waiting_for_a_lock(database: ProvisionedServer) -> bool:
    with psycopg.connect(database.superuser_url) as connection:
        cursor = connection.execute(
            "SELECT FROM pg_stat_activity WHERE usename = 'predictor'"
            " AND wait_event_type = 'Lock' AND query LIKE 'INSERT%'"
        )
        return cursor.fetchone() is not None


@pytest.mark.parametrize("order", [("broker", "predictor"), ("predictor", "broker")])
def test_has_its_partitions_half_a_minute_after_broker_and_predictor_were_killed(
    create_predictor: PredictorFactory,
    broker: Kafka,
    predictions: Predictions,
    first: int,
    order: tuple[str, str],
) -> None:
    killed, successor = create_predictor("killed"), create_predictor("successor")
    with running(killed):
        wait_until(killed.works, timeout=60)
        services = {"broker": broker, "predictor": killed}
        try:
            for name in order:
                services[name].kill()
        finally:
            broker.start()
    started = time.monotonic()
    with running(successor):
        wait_until(lambda: successor.partitions() == PARTITIONS, timeout=RECOVERED_SECONDS)
        send(broker, [message(first, 1)])
        wait_until(lambda: bool(predictions.of(first)), timeout=RECOVERED_SECONDS)
    assert time.monotonic() - started < RECOVERED_SECONDS


def test_is_not_ready_without_a_partition_and_gets_those_of_a_member_that_does_not_respond(
    create_predictor: PredictorFactory, broker: Kafka
) -> None:
    with member_that_does_not_poll(broker):
        wait_until(lambda: assigned_partitions(broker) == PARTITIONS, timeout=60)
        started = time.monotonic()
        waiting = create_predictor()
        with running(waiting):
            # Its heartbeats keep the member in the group, but it does not join the rebalance.
            assert not waiting.works()
            wait_until(waiting.works, timeout=RECOVERED_SECONDS)
            assert waiting.partitions() == PARTITIONS
        assert time.monotonic() - started < RECOVERED_SECONDS


@contextmanager
def member_that_does_not_poll(broker: Kafka) -> Iterator[None]:
    """Run a predictor's consumer that has joined the group and processes nothing."""
    with subprocess.Popen(
        [str(HomeLayout(TOOLS).serving_python), "-m", MEMBER, broker.bootstrap_servers],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
    ) as member:
        try:
            yield
        finally:
            member.kill()


def test_a_stopped_database_delays_only_until_it_continues(
    predictor: Predictor,
    broker: Kafka,
    database: ProvisionedServer,
    predictions: Predictions,
    first: int,
) -> None:
    server = psutil.Process(database.server.pid)
    processes = [server, *server.children()]
    for process in processes:
        process.suspend()
    try:
        send(broker, [message(first, 1)])
        wait_until(lambda: predictor.metric("failures_total", cause="database") >= 2, timeout=60)
        assert "database" in predictor.get("/ready").text
        # It is still a member: its partitions did not wait for the database.
        assert predictor.partitions() == PARTITIONS
    finally:
        for process in processes:
            process.resume()
    wait_until(lambda: bool(predictions.of(first)), timeout=30)
    wait_until(predictor.works, timeout=30)


def test_two_predictors_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    predictor: Predictor,
    create_predictor: PredictorFactory,
    broker: Kafka,
    predictions: Predictions,
    first: int,
) -> None:
    other = create_predictor("other")
    half = PARTITIONS // 2
    with running(other):
        wait_until(lambda: (predictor.partitions(), other.partitions()) == (half, half), timeout=60)
        patients = range(first, first + 400)
        send(broker, [message(patient, 1) for patient in patients])
        wait_until(lambda: len(predictions.of(*patients)) == len(patients), timeout=60)
        # The predictors count rows after the database has committed them.
        wait_until(lambda: sum(stored_by(predictor, other)) == len(patients), timeout=60)
        assert min(stored_by(predictor, other)) > 0
        other.kill()
        later = range(first + 400, first + 800)
        send(broker, [message(patient, 1) for patient in later])
        wait_until(lambda: len(predictions.of(*later)) == len(later), timeout=30)
        wait_until(lambda: predictor.partitions() == PARTITIONS, timeout=60)


def stored_by(*predictors: Predictor) -> list[float]:
    """Return how many predictions each predictor has stored."""
    return [predictor.metric("predictions_total") for predictor in predictors]


def test_waits_for_the_first_model_and_keeps_it_when_the_store_disappears(
    create_predictor: PredictorFactory,
    broker: Kafka,
    predictions: Predictions,
    tmp_path: Path,
    first: int,
) -> None:
    store = tmp_path / "models"
    waiting = create_predictor(models=store)
    with running(waiting):
        wait_until(lambda: "no model" in waiting.get("/ready").text, timeout=60)
        send(broker, [message(first, 1)])
        wait_until(lambda: waiting.metric("failures_total", cause="model") > 0, timeout=60)
        assert predictions.of(first) == []
        release(store, *make_bundle())
        wait_until(lambda: bool(predictions.of(first)), timeout=60)
        store.rename(tmp_path / "elsewhere")
        wait_until(lambda: waiting.metric("model_reload_failures_total") > 0, timeout=60)
        send(broker, [message(first + 1, 1)])
        wait_until(lambda: bool(predictions.of(first + 1)), timeout=60)


def test_a_stop_signal_commits_the_offsets_and_exits_with_code_0(
    create_predictor: PredictorFactory, broker: Kafka, predictions: Predictions, first: int
) -> None:
    stopping = create_predictor()
    patients = range(first, first + 20)
    with running(stopping):
        wait_until(stopping.works, timeout=60)
        wait_until(lambda: stopping.partitions() == PARTITIONS, timeout=60)
        send(broker, [message(patient, 1) for patient in patients])
        wait_until(lambda: len(predictions.of(*patients)) == len(patients), timeout=60)
        assert stopping.terminate() == 0
        assert committed_offsets(broker) == [end.offset for end in broker.ends(SINK_TOPIC)]
