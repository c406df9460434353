"""What the predictor stores of the messages that it reads, and what it refuses."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import TopicPartition

from diabetes_platform.contract.events import (
    DEAD_LETTER_HEADERS,
    PREDICTED_CHANNEL,
    REJECTED_TOPIC,
    SINK_TOPIC,
)
from diabetes_platform_tests.capture import Kafka, running
from diabetes_platform_tests.predicting import Make, Predictions, Predictor, opened, send, wait_for
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.streaming.sink import EXAMPLE, key_of, message, tombstone
from serving.app.validation import Patient
from serving.tests.bundles import make_bundle, point_at, release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_patient_of_the_topic_gets_what_the_champion_says_of_it(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [message(first, 77, glucose=180, insulin=None)])
    wait_for(lambda: predictions.of(first))
    (row,) = predictions.of(first)
    expected = opened().predict_all(
        [Patient.model_validate(EXAMPLE | {"glucose": 180, "insulin": None})],
        with_contributions=True,
    )[0]
    for name in ("probability", "result", "model_version", "contributions"):
        assert row[name] == expected[name], name
    assert row["source_lsn"] == 77
    stamps = ["changed_at", "captured_at", "judged_at", "consumed_at", "scored_at", "stored_at"]
    assert [row[name] for name in stamps] == sorted(row[name] for name in stamps)
    hops = ("capture", "check", "merge", "fetch", "score", "store", "total")
    wait_for(lambda: all(predictor.metric("hop_seconds_count", hop=hop) == 1 for hop in hops))
    assert predictor.metric("predictions_total") == 1


def test_who_listens_is_told_whose_prediction_is_there(
    predictor: Predictor, broker: Kafka, database: ProvisionedServer, first: int
) -> None:
    patients = range(first, first + 900)
    told: set[int] = set()
    with psycopg.connect(database.url("api"), autocommit=True) as listening:
        listening.execute(f"LISTEN {PREDICTED_CHANNEL}")
        send(broker, [message(one, 1) for one in patients])
        for notification in listening.notifies(timeout=30):
            told |= set(json.loads(notification.payload))
            if told >= set(patients):
                break
    assert told >= set(patients)
    assert predictor.metric("failures_total") == 0


def test_replayed_changes_are_stored_once_and_keep_their_times(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    changes = [message(first, 5), message(first, 5), message(first, 9), message(first + 1, 6)]
    send(broker, changes)
    wait_for(lambda: len(predictions.of(first, first + 1)) == 3)
    before = predictions.of(first, first + 1)
    send(broker, changes * 3)
    send(broker, [message(first + 2, 1)])
    wait_for(lambda: predictor.metric("lag_messages") == 0 and predictions.of(first + 2))
    assert predictions.of(first, first + 1) == before


def test_an_older_change_that_comes_late_is_kept_beside_the_newer_one(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    assert predictor.works()
    send(broker, [message(first, 9, glucose=190)])
    send(broker, [message(first, 4, glucose=90)])
    wait_for(lambda: predictions.changes(first) == [(first, 4), (first, 9)])


def test_a_deleted_patients_predictions_go_whatever_came_before_in_the_batch(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    gone, there, back = first, first + 1, first + 2
    send(broker, [message(gone, 1), message(there, 1), message(back, 1)])
    wait_for(lambda: len(predictions.of(gone, there, back)) == 3)
    # Taken out and, in one batch with it, put in once more: what a snapshot after a restore does.
    send(broker, [message(gone, 2), tombstone(gone), tombstone(back), message(back, 3)])
    wait_for(
        lambda: predictions.changes(gone, there, back) == [(there, 1), (back, 3)],
    )
    wait_for(lambda: predictor.metric("deletions_total") == 2)


def test_what_cannot_be_read_goes_to_the_dead_letters_and_stops_nobody(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    before = broker.ends(REJECTED_TOPIC)
    poison = [
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
    send(broker, [*poison, message(first + 2, 1)])
    wait_for(lambda: predictions.of(first + 2))
    wait_for(lambda: predictor.metric("rejected_total") == len(poison))
    letters = []
    for letter in broker.messages(before, seconds=5):
        letters.append(letter)
        if len(letters) == len(poison):
            break
    assert {(one.key(), one.value()) for one in letters} == set(poison)
    names = DEAD_LETTER_HEADERS
    for letter in letters:
        headers = dict(letter.headers() or [])
        assert headers[names.topic] == SINK_TOPIC.encode()
        place = int(headers[names.partition]), int(headers[names.offset])
        assert original(broker, *place) == (letter.key(), letter.value())
        assert int(headers[names.rejected_ms]) <= time.time() * 1000
        assert json.loads(headers[names.reasons])
    reasons = {letter.value(): json.loads(dict(letter.headers())["reasons"]) for letter in letters}
    assert reasons[poison[4][1]] == ["glucose:not_a_number"]
    assert reasons[poison[5][1]] == ["lsn:missing", "age:below_minimum"]
    assert reasons[poison[6][1]] == ["record:not_json"]
    assert reasons[poison[7][1]] == ["key:mismatch"]
    assert predictions.of(first, first + 1) == []


def original(broker: Kafka, partition: int, offset: int) -> tuple[object, object]:
    found = next(broker.messages([TopicPartition(SINK_TOPIC, partition, offset)]))
    return found.key(), found.value()


@pytest.mark.slow
def test_ten_thousand_poison_messages_in_a_row_hold_nobody_up(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [(key_of(first), b"poison")] * 10_000 + [message(first, 1)])
    wait_for(lambda: predictions.changes(first) == [(first, 1)])
    wait_for(lambda: predictor.metric("rejected_total") == 10_000)


def test_the_champion_changes_in_the_midst_and_each_row_says_who_scored_it(
    make: Make, broker: Kafka, predictions: Predictions, tmp_path: Path, first: int
) -> None:
    store = tmp_path / "models"
    made = {one.bundle.model_version: one for one in (opened(), opened(2.0))}
    for intercept in (2.0, 0.0):
        release(store, *make_bundle(intercept=intercept))
    patients = range(first, first + 600)
    switching = make(models=store)
    with running(switching):
        wait_for(switching.works)
        with sending(broker, patients):
            for model in list(made.values()) * 3:
                point_at(store, model.bundle)
                version = model.bundle.model_version
                wait_for(
                    lambda: switching.get("/ready").json()["model_version"] == version,  # noqa: B023
                )
                time.sleep(0.3)
        wait_for(lambda: len(predictions.of(*patients)) == len(patients))
    rows = predictions.of(*patients)
    assert {row["model_version"] for row in rows} == set(made)
    patient = Patient.model_validate(EXAMPLE)
    expected = {version: model.predict(patient)["probability"] for version, model in made.items()}
    assert all(row["probability"] == expected[str(row["model_version"])] for row in rows)


@contextmanager
def sending(broker: Kafka, patients: range) -> Iterator[None]:
    """Send one patient after another while the block runs, the rest at its end."""
    left = iter(patients)
    stopped = threading.Event()

    def send_on() -> None:
        while not stopped.wait(0.005) and (one := next(left, None)) is not None:
            send(broker, [message(one, 1)])

    sender = threading.Thread(target=send_on)
    sender.start()
    try:
        yield
    finally:
        stopped.set()
        sender.join()
    send(broker, [message(one, 1) for one in left])


def test_no_patients_value_is_in_log_or_metrics(
    predictor: Predictor, broker: Kafka, predictions: Predictions, first: int
) -> None:
    send(broker, [message(first, 1, glucose=123.456), message(first, 2, glucose=9876.5)])
    wait_for(lambda: predictions.of(first) and predictor.metric("rejected_total") == 1)
    told = predictor.log.read_text(encoding="utf-8") + predictor.get("/metrics").text
    assert "123.456" not in told
    assert "9876.5" not in told
