"""Event streams of a patient's predictions: prompt, complete, and of no other patient."""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx2
import psycopg
import pytest

from serving.app.main import create_app
from serving.app.patients.event_stream import parse_event_id
from serving.app.patients.queries import START, EventCursor
from serving.app.problems import ProblemError
from serving.app.settings import ServingSettings
from serving.tests.clients import assert_problem, take_in, wait_until
from serving.tests.conftest import running
from serving.tests.event_streams import EventStream
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

LONG_HEARTBEAT_SECONDS = 4.0


@pytest.fixture
def slow_heartbeat(intake_settings: ServingSettings) -> Iterator[httpx2.Client]:
    """Return a client of a server whose heartbeat is too slow to hide a lost notification."""
    changes = {"api_heartbeat_seconds": LONG_HEARTBEAT_SECONDS}
    with running(create_app(intake_settings.model_copy(update=changes))) as client:
        yield client


def follow(client: httpx2.Client, patient_id: int, last_event_id: str | None = None) -> EventStream:
    return EventStream(str(client.base_url), patient_id, last_event_id)


def open_streams(client: httpx2.Client) -> float:
    (sample,) = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("diabetes_api_streams ")
    ]
    return float(sample.split()[1])


def test_a_notification_sends_a_prediction_at_once(
    slow_heartbeat: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(slow_heartbeat)
    delays = []
    with follow(slow_heartbeat, patient_id) as stream:
        for number in range(1, 21):
            warehouse.predict(patient_id, lsn=number)
            stored = time.perf_counter()
            stream.wait_for_events(number)
            delays.append(stream.arrived[-1] - stored)
    assert stream.ids == [f"{number}-0123456789ab" for number in range(1, 21)]
    assert set(stream.kinds) == {"prediction"}
    assert statistics.median(delays) < LONG_HEARTBEAT_SECONDS / 10


def test_each_stream_has_the_predictions_of_its_patient_only(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patients = [take_in(intake) for _ in range(10)]
    with ExitStack() as stack:
        streams = [stack.enter_context(follow(intake, patient)) for patient in patients]
        for number, patient in enumerate(patients):
            warehouse.predict(patient, probability=number / 10)
        for stream in streams:
            stream.wait_for_events(1)
        # A prediction of another patient would arrive within a heartbeat.
        heartbeats = [stream.heartbeats for stream in streams]
        wait_until(
            lambda: all(
                stream.heartbeats > count for stream, count in zip(streams, heartbeats, strict=True)
            )
        )
    received = [
        [(data["patient_id"], data["probability"]) for _, data in stream.events]
        for stream in streams
    ]
    assert received == [[(patient, number / 10)] for number, patient in enumerate(patients)]


def test_a_resumed_stream_neither_repeats_nor_skips_predictions(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    ids = [
        warehouse.predict(patient_id, lsn=3, model_version="bbb"),
        warehouse.predict(patient_id, lsn=3, model_version="aaa"),
        warehouse.predict(patient_id, lsn=5, model_version="aaa"),
    ]
    for sent in range(len(ids)):
        with follow(intake, patient_id, ids[sent - 1] if sent else None) as stream:
            stream.wait_for_events(len(ids) - sent)
        assert stream.ids == ids[sent:]
    with follow(intake, patient_id, ids[-1]) as stream:
        wait_until(lambda: stream.heartbeats >= 2)
        assert stream.ids == []
        newer = warehouse.predict(patient_id, lsn=6)
        stream.wait_for_events(1)
        assert stream.ids == [newer]


def test_a_reader_never_gets_a_prediction_from_before_the_row(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    """As after a deletion whose id was used again, while the stream is behind."""
    patient_id = take_in(intake)
    warehouse.predict(
        patient_id, lsn=9, probability=0.99, changed_at=datetime.now(UTC) - timedelta(minutes=1)
    )
    with follow(intake, patient_id) as stream:
        wait_until(lambda: stream.heartbeats >= 2)
        assert stream.ids == []
        detail = intake.get(f"/patients/{patient_id}").json()
        assert (detail["state"], detail["prediction"]) == ("waiting", None)
        (listed,) = intake.get("/patients?limit=1").json()["patients"]
        assert (listed["id"], listed["state"]) == (patient_id, "waiting")
        own = warehouse.predict(patient_id, lsn=3, probability=0.01)
        stream.wait_for_events(1)
        assert stream.ids == [own]
    detail = intake.get(f"/patients/{patient_id}").json()
    assert (detail["state"], detail["prediction"]["probability"]) == ("answered", 0.01)


def test_sends_more_predictions_than_one_query_reads(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    warehouse.predict(patient_id)
    statement = (
        "INSERT INTO serving.predictions SELECT"
        " (jsonb_populate_record(p, jsonb_build_object('source_lsn', n))).*"
        " FROM serving.predictions p, generate_series(2, 250) n WHERE intake_id = %s"
    )
    with psycopg.connect(warehouse.predictor) as connection:
        connection.execute(statement, (patient_id,))
    with follow(intake, patient_id) as stream:
        stream.wait_for_events(250)
    assert stream.ids == [f"{number}-0123456789ab" for number in range(1, 251)]


def test_the_heartbeat_sends_a_prediction_whose_notification_was_lost(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    with follow(intake, patient_id) as stream:
        warehouse.predict(patient_id, notify=False)
        stream.wait_for_events(1)


def test_an_invalid_notification_does_not_stop_the_listener(
    slow_heartbeat: httpx2.Client, warehouse: Warehouse
) -> None:
    payloads = ["", "no json", "{}", '["x"]', "7", "[1e400]", "[null]", "[" * 7_000]
    patient_id = take_in(slow_heartbeat)
    with follow(slow_heartbeat, patient_id) as stream:
        with psycopg.connect(warehouse.predictor) as connection:
            for payload in payloads:
                warehouse.notify(connection, payload)
        warehouse.predict(patient_id)
        stream.wait_for_events(1)
        assert stream.heartbeats == 0


def test_a_closed_stream_is_no_longer_counted(intake: httpx2.Client) -> None:
    patient_id = take_in(intake)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(follow(intake, patient_id))
        wait_until(lambda: open_streams(intake) == 5)
    wait_until(lambda: open_streams(intake) == 0)


def test_rejects_streams_beyond_the_maximum(intake_settings: ServingSettings) -> None:
    settings = intake_settings.model_copy(update={"api_max_streams": 1})
    with running(create_app(settings)) as client:
        patient_id = take_in(client)
        with follow(client, patient_id):
            response = client.get(f"/patients/{patient_id}/events")
    assert_problem(response, 503)
    assert response.json()["type"].endswith(":too-many-streams")
    assert response.headers["retry-after"]


@pytest.mark.parametrize("event_id", ["x", "1", "-1-m", "1-", "9223372036854775808-m", "1-m m"])
def test_rejects_an_event_id_that_no_stream_sends(intake: httpx2.Client, event_id: str) -> None:
    patient_id = take_in(intake)
    headers = {"last-event-id": event_id}
    response = intake.get(f"/patients/{patient_id}/events", headers=headers)
    assert [error["field"] for error in assert_problem(response, 422)] == ["last-event-id"]


def test_an_event_id_is_parsed_to_its_cursor() -> None:
    cursor = EventCursor(2**63 - 1, "f82e3e51a6ce")
    assert parse_event_id(str(cursor)) == cursor
    with pytest.raises(ProblemError) as raised:
        parse_event_id(str(START))
    assert raised.value.document["errors"][0]["field"] == "last-event-id"


def test_a_stream_reports_an_outage_and_continues_after_it(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    with follow(intake, patient_id) as stream:
        with warehouse.outage():
            wait_until(lambda: "unavailable" in stream.kinds)
            assert intake.post("/patients", json={}).status_code == 422
            assert_problem(intake.get(f"/patients/{patient_id}"), 503)
            response = intake.get("/patients")
            assert_problem(response, 503)
            assert response.json()["type"].endswith(":database-unavailable")
            assert int(response.headers["retry-after"]) > 0
            assert intake.get("/ready").status_code == 200
            assert intake.get("/health").status_code == 200
        warehouse.predict(patient_id)
        wait_until(lambda: "prediction" in stream.kinds, timeout=30)
        assert stream.kinds == ["unavailable", "prediction"]
    wait_until(lambda: intake.get(f"/patients/{patient_id}").status_code == 200)
    started = time.monotonic()
    with follow(intake, patient_id, stream.ids[-1]) as resumed:
        warehouse.predict(patient_id, lsn=2)
        resumed.wait_for_events(1)
    assert time.monotonic() - started < 5


def test_a_stream_goes_on_after_the_server_was_stopped(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    with follow(intake, patient_id) as stream:
        warehouse.predict(patient_id, lsn=1)
        stream.wait_for_events(1)
        with warehouse.frozen():
            wait_until(lambda: "unavailable" in stream.kinds)
            heartbeats = stream.heartbeats
            wait_until(lambda: stream.heartbeats >= heartbeats + 2)
        for lsn in (2, 3):
            warehouse.predict(patient_id, lsn=lsn)
            wait_until(lambda expected=lsn: len(stream.ids) == expected)
    assert stream.ids == [f"{lsn}-0123456789ab" for lsn in (1, 2, 3)]
    assert stream.kinds == ["prediction", "unavailable", "prediction", "prediction"]
