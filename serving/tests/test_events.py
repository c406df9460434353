"""The stream of a patient's predictions: prompt, complete, and nobody else's."""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import psycopg
import pytest

from serving.app.main import create_app
from serving.app.patients.events import parse_event_id
from serving.app.patients.queries import START, EventCursor
from serving.app.settings import ServingSettings
from serving.tests.conftest import running, wait_for
from serving.tests.streams import Stream
from serving.tests.test_api import assert_problem
from serving.tests.test_patients import take_in
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

HEARTBEAT = 4.0


@pytest.fixture
def rarely(intake_settings: ServingSettings) -> Iterator[httpx2.Client]:
    """Return a client of a server that looks so rarely by itself that it must be told."""
    rare = intake_settings.model_copy(update={"api_heartbeat_seconds": HEARTBEAT})
    with running(create_app(rare)) as client:
        yield client


def follow(client: httpx2.Client, patient_id: int, last: str | None = None) -> Stream:
    return Stream(str(client.base_url), patient_id, last)


def open_streams(client: httpx2.Client) -> float:
    (line,) = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("diabetes_api_streams ")
    ]
    return float(line.split()[1])


def test_an_answer_reaches_the_page_long_before_the_next_look(
    rarely: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(rarely)
    delays = []
    with follow(rarely, patient_id) as stream:
        for number in range(1, 21):
            warehouse.answer(patient_id, lsn=number)
            stored = time.perf_counter()
            stream.wait_for_events(number)
            delays.append(stream.arrived[-1] - stored)
    assert stream.ids == [f"{number}-0123456789ab" for number in range(1, 21)]
    assert {kind for kind, _ in stream.events} == {"prediction"}
    assert statistics.median(delays) < HEARTBEAT / 10


def test_ten_people_each_get_their_own_answer_and_nobody_elses(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    people = [take_in(intake) for _ in range(10)]
    with ExitStack() as all_streams:
        streams = [all_streams.enter_context(follow(intake, person)) for person in people]
        for number, person in enumerate(people):
            warehouse.answer(person, probability=number / 10)
        for stream in streams:
            stream.wait_for_events(1)
        # Were they sent one another's answers, they would come within a heartbeat.
        beats = [stream.heartbeats for stream in streams]
        wait_for(lambda: all(s.heartbeats > b for s, b in zip(streams, beats, strict=True)))
    got = [[(data["patient_id"], data["probability"]) for _, data in s.events] for s in streams]
    assert got == [[(person, number / 10)] for number, person in enumerate(people)]


def test_a_resumed_stream_neither_repeats_nor_misses(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    sent = [
        warehouse.answer(patient_id, lsn=3, model_version="bbb"),
        warehouse.answer(patient_id, lsn=3, model_version="aaa"),
        warehouse.answer(patient_id, lsn=5, model_version="aaa"),
    ]
    for after in range(len(sent)):
        last = sent[after - 1] if after else None
        with follow(intake, patient_id, last) as stream:
            stream.wait_for_events(len(sent) - after)
        assert stream.ids == sent[after:]
    with follow(intake, patient_id, sent[-1]) as stream:
        wait_for(lambda: stream.heartbeats >= 2)
        assert stream.ids == []
        newer = warehouse.answer(patient_id, lsn=6)
        stream.wait_for_events(1)
        assert stream.ids == [newer]


def test_more_predictions_than_one_look_reads(intake: httpx2.Client, warehouse: Warehouse) -> None:
    patient_id = take_in(intake)
    warehouse.answer(patient_id)
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


def test_a_notification_that_got_lost_is_made_up_for_by_the_next_heartbeat(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    with follow(intake, patient_id) as stream:
        warehouse.answer(patient_id, notify=False)
        stream.wait_for_events(1)


def test_a_notification_that_nobody_understands_stops_nothing(
    rarely: httpx2.Client, warehouse: Warehouse
) -> None:
    payloads = ["", "no json", "{}", '["x"]', "7", "[1e400]", "[null]", "[" * 7_000]
    patient_id = take_in(rarely)
    with follow(rarely, patient_id) as stream:
        with psycopg.connect(warehouse.predictor) as connection:
            for payload in payloads:
                warehouse.notify(connection, payload)
        warehouse.answer(patient_id)
        stream.wait_for_events(1)
        assert stream.heartbeats == 0


def test_a_client_that_leaves_is_forgotten(intake: httpx2.Client) -> None:
    patient_id = take_in(intake)
    with ExitStack() as all_streams:
        for _ in range(5):
            all_streams.enter_context(follow(intake, patient_id))
        wait_for(lambda: open_streams(intake) == 5)
    wait_for(lambda: open_streams(intake) == 0)


def test_more_streams_than_allowed_are_refused(intake_settings: ServingSettings) -> None:
    few = intake_settings.model_copy(update={"api_max_streams": 1})
    with running(create_app(few)) as client:
        patient_id = take_in(client)
        with follow(client, patient_id):
            refused = client.get(f"/patients/{patient_id}/events")
    assert_problem(refused, 503)
    assert refused.json()["type"].endswith(":too-many-streams")
    assert refused.headers["retry-after"]


@pytest.mark.parametrize("given", ["x", "1", "-1-m", "1-", "9223372036854775808-m", "1-m m"])
def test_an_event_id_that_no_stream_sent_is_refused(intake: httpx2.Client, given: str) -> None:
    patient_id = take_in(intake)
    answer = intake.get(f"/patients/{patient_id}/events", headers={"last-event-id": given})
    assert [error["field"] for error in assert_problem(answer, 422)] == ["last-event-id"]


def test_an_event_id_reads_back() -> None:
    cursor = EventCursor(2**63 - 1, "f82e3e51a6ce")
    assert parse_event_id(str(cursor)) == cursor
    with pytest.raises(ValueError, match="event id"):
        parse_event_id(str(START))


def test_an_outage_of_the_database_is_told_and_made_up_for(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)

    def kinds(stream: Stream) -> list[Any]:
        return [kind for kind, _ in stream.events]

    with follow(intake, patient_id) as stream:
        with warehouse.outage():
            wait_for(lambda: "unavailable" in kinds(stream))
            response = intake.post("/patients", json={})
            assert response.status_code == 422
            assert_problem(intake.get(f"/patients/{patient_id}"), 503)
            refused = intake.get("/patients")
            assert_problem(refused, 503)
            assert refused.json()["type"].endswith(":database-unavailable")
            assert int(refused.headers["retry-after"]) > 0
            assert intake.get("/ready").status_code == 200
            assert intake.get("/health").status_code == 200
        warehouse.answer(patient_id)
        wait_for(lambda: "prediction" in kinds(stream), seconds=30)
        assert kinds(stream) == ["unavailable", "prediction"]
    wait_for(lambda: intake.get(f"/patients/{patient_id}").status_code == 200)
    before = time.monotonic()
    with follow(intake, patient_id, stream.ids[-1]) as after:
        warehouse.answer(patient_id, lsn=2)
        after.wait_for_events(1)
    assert time.monotonic() - before < 5
