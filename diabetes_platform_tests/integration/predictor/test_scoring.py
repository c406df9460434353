"""Stored predictions, notifications and dead letters of the messages that a predictor consumes."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import TopicPartition

from diabetes_platform.contract.latency import LIVE_STAGES, TOTAL
from diabetes_platform.contract.topics import (
    DEAD_LETTER_HEADERS,
    PREDICTED_CHANNEL,
    REJECTED_TOPIC,
    SINK_TOPIC,
)
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.capture import Kafka, running
from diabetes_platform_tests.predictors import (
    Predictions,
    Predictor,
    PredictorFactory,
    open_test_model,
    send,
)
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.streaming.sink import key_of, message, tombstone
from serving.tests.bundles import make_bundle, point_at, release
from serving.tests.samples import PATIENT, patient

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_stores_the_prediction_of_the_champion(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [message(first, 77, glucose=180, insulin=None)])
    wait_until(lambda: bool(predictions.of(first)), timeout=60)
    (row,) = predictions.of(first)
    expected = open_test_model().predict_all(
        [patient(glucose=180, insulin=None)], with_contributions=True
    )[0]
    for name in ("probability", "result", "model_version", "contributions"):
        assert row[name] == expected[name], name
    assert row["source_lsn"] == 77
    columns = ["changed_at", "captured_at", "judged_at", "consumed_at", "scored_at", "stored_at"]
    timestamps = [row[name] for name in columns]
    assert timestamps == sorted(timestamps)
    stages = [stage.name for stage in (*LIVE_STAGES, TOTAL)]
    wait_until(
        lambda: all(predictor.metric("hop_seconds_count", hop=stage) == 1 for stage in stages),
        timeout=60,
    )
    assert predictor.metric("predictions_total") == 1


def test_notifies_listeners_of_every_patient(
    predictor: Predictor, broker: Kafka, database: ProvisionedServer, first: int
) -> None:
    patients = range(first, first + 900)
    notified: set[int] = set()
    with psycopg.connect(database.url("api"), autocommit=True) as listener:
        listener.execute(f"LISTEN {PREDICTED_CHANNEL}")
        send(broker, [message(intake_id, 1) for intake_id in patients])
        for notification in listener.notifies(timeout=30):
            notified |= set(json.loads(notification.payload))
            if notified >= set(patients):
                break
    assert notified >= set(patients)
    assert predictor.metric("failures_total") == 0


def test_replayed_changes_do_not_change_stored_rows(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    change = message(first, 5)
    changes = [change, change, message(first, 9, glucose=190), message(first + 1, 6)]
    send(broker, changes)
    wait_until(lambda: len(predictions.of(first, first + 1)) == 3, timeout=60)
    stored = predictions.of(first, first + 1)
    send(broker, changes * 3)
    send(broker, [message(first + 2, 1)])
    wait_until(
        lambda: predictor.metric("lag_messages") == 0 and bool(predictions.of(first + 2)),
        timeout=60,
    )
    assert predictions.of(first, first + 1) == stored


def test_an_unchanged_image_at_another_position_adds_nothing_and_notifies_nobody(
    predictor: Predictor,
    broker: Kafka,
    database: ProvisionedServer,
    predictions: Predictions,
    first: int,
) -> None:
    """As after a dropped slot, or a new server, whose snapshot reads every patient again."""
    assert predictor.works()
    patients = range(first, first + 50)
    send(broker, [message(intake_id, 10) for intake_id in patients])
    send(broker, [message(first, 20, glucose=190)])
    wait_until(lambda: len(predictions.of(*patients)) == 51, timeout=60)
    stored = predictions.of(*patients)
    with psycopg.connect(database.url("api"), autocommit=True) as listener:
        listener.execute(f"LISTEN {PREDICTED_CHANNEL}")
        for position in (1_000, 2**44 + 5):
            send(broker, [message(first, position, op="r", glucose=190)])
        for position in (1_000, 2**44 + 5, 3):
            send(broker, [message(intake_id, position, op="r") for intake_id in patients[1:]])
        send(broker, [message(first + 50, 30, op="r")])
        notified: list[int] = []
        for notification in listener.notifies(timeout=30):
            notified += json.loads(notification.payload)
            if first + 50 in notified:
                break
    assert notified == [first + 50]
    assert predictions.of(*patients) == stored


def test_stores_a_late_older_change_beside_the_newer_one(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    assert predictor.works()
    send(broker, [message(first, 9, glucose=190)])
    send(broker, [message(first, 4, glucose=90)])
    wait_until(lambda: predictions.changes(first) == [(first, 4), (first, 9)], timeout=60)


def test_deletes_the_predictions_of_a_deleted_patient(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    deleted, unchanged, reinserted = first, first + 1, first + 2
    send(broker, [message(deleted, 1), message(unchanged, 1), message(reinserted, 1)])
    wait_until(lambda: len(predictions.of(deleted, unchanged, reinserted)) == 3, timeout=60)
    # A deletion and a new row in one batch, as a snapshot after a restore sends them.
    send(
        broker,
        [message(deleted, 2), tombstone(deleted), tombstone(reinserted), message(reinserted, 3)],
    )
    wait_until(
        lambda: (
            predictions.changes(deleted, unchanged, reinserted) == [(unchanged, 1), (reinserted, 3)]
        ),
        timeout=60,
    )
    wait_until(lambda: predictor.metric("deletions_total") == 2, timeout=60)


def test_sends_invalid_messages_to_the_dead_letters_and_continues(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    ends = broker.ends(REJECTED_TOPIC)
    invalid = [
        # A compacted topic takes no message without a key.
        (b"1", None),
        (b"{}", b"{}"),
        (key_of(first), b"\xff\xfe\x00"),
        (key_of(first), b'{"id": ' + b"[" * 10_000),
        message(first, 1, glucose="148"),
        message(first, 1, lsn=None, age=-1),
        message(first, 1, bmi=float("nan")),
        (key_of(first), message(first + 1, 1)[1]),
    ]
    send(broker, [*invalid, message(first + 2, 1)])
    wait_until(lambda: bool(predictions.of(first + 2)), timeout=60)
    wait_until(lambda: predictor.metric("rejected_total") == len(invalid), timeout=60)
    letters = []
    for letter in broker.messages(ends, seconds=5):
        letters.append(letter)
        if len(letters) == len(invalid):
            break
    assert {(letter.key(), letter.value()) for letter in letters} == set(invalid)
    names = DEAD_LETTER_HEADERS
    for letter in letters:
        headers = dict(letter.headers() or [])
        assert headers[names.topic] == SINK_TOPIC.encode()
        position = int(headers[names.partition]), int(headers[names.offset])
        assert message_at(broker, *position) == (letter.key(), letter.value())
        assert int(headers[names.rejected_ms]) <= time.time() * 1000
        assert json.loads(headers[names.reasons])
    reasons = {letter.value(): json.loads(dict(letter.headers())["reasons"]) for letter in letters}
    assert reasons[invalid[4][1]] == ["glucose:not_a_number"]
    assert reasons[invalid[5][1]] == ["lsn:missing", "age:below_minimum"]
    assert reasons[invalid[6][1]] == ["record:not_json", "bmi:not_finite"]
    assert reasons[invalid[7][1]] == ["key:mismatch"]
    assert predictions.of(first, first + 1) == []


def message_at(broker: Kafka, partition: int, offset: int) -> tuple[object, object]:
    """Return key and value of a message of the sink topic."""
    original = next(broker.messages([TopicPartition(SINK_TOPIC, partition, offset)]))
    return original.key(), original.value()


@pytest.mark.slow
def test_continues_after_ten_thousand_invalid_messages(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [(key_of(first), b"invalid")] * 10_000 + [message(first, 1)])
    wait_until(lambda: predictions.changes(first) == [(first, 1)], timeout=60)
    wait_until(lambda: predictor.metric("rejected_total") == 10_000, timeout=60)


def test_each_row_names_its_model_while_the_champion_changes(
    create_predictor: PredictorFactory,
    broker: Kafka,
    predictions: Predictions,
    tmp_path: Path,
    first: int,
) -> None:
    store = tmp_path / "models"
    models = {
        model.bundle.model_version: model for model in (open_test_model(), open_test_model(2.0))
    }
    for intercept in (2.0, 0.0):
        release(store, *make_bundle(intercept=intercept))
    patients = range(first, first + 600)
    switching = create_predictor(models=store)
    with running(switching):
        wait_until(switching.works, timeout=60)
        with sending(broker, patients):
            for model in list(models.values()) * 3:
                point_at(store, model.bundle)
                version = model.bundle.model_version
                wait_until(
                    lambda: switching.get("/ready").json()["model_version"] == version,  # noqa: B023
                    timeout=60,
                )
                time.sleep(0.3)
        wait_until(lambda: len(predictions.of(*patients)) == len(patients), timeout=60)
    rows = predictions.of(*patients)
    assert {row["model_version"] for row in rows} == set(models)
    expected = {version: model.predict(PATIENT)["probability"] for version, model in models.items()}
    assert all(row["probability"] == expected[str(row["model_version"])] for row in rows)


@contextmanager
def sending(broker: Kafka, patients: range) -> Iterator[None]:
    """Send patients one by one while the block runs, and the rest at its end."""
    unsent = iter(patients)
    stopped = threading.Event()

    def send_one_by_one() -> None:
        while not stopped.wait(0.005) and (intake_id := next(unsent, None)) is not None:
            send(broker, [message(intake_id, 1)])

    sender = threading.Thread(target=send_one_by_one)
    sender.start()
    try:
        yield
    finally:
        stopped.set()
        sender.join()
    send(broker, [message(intake_id, 1) for intake_id in unsent])


def test_log_and_metrics_contain_no_measurements(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [message(first, 1, glucose=123.456), message(first, 2, glucose=9876.5)])
    wait_until(
        lambda: bool(predictions.of(first)) and predictor.metric("rejected_total") == 1, timeout=60
    )
    text = predictor.log.read_text(encoding="utf-8") + predictor.get("/metrics").text
    assert "123.456" not in text
    assert "9876.5" not in text
