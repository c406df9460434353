"""Columns that are added to and removed from the intake table of the running platform."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from diabetes_platform.contract.change_events import SINK_KEYS
from diabetes_platform.contract.topics import REJECTED_TOPIC
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform_tests.integration.test_stream_job import insert, messages, written
from diabetes_platform_tests.released_model import prediction_count, released
from diabetes_platform_tests.services import within
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ADD = "ALTER TABLE public.diabetes_new ADD COLUMN note text"
DROP = "ALTER TABLE public.diabetes_new DROP COLUMN note"
RENAME = "ALTER TABLE public.diabetes_new RENAME COLUMN blood_pressure TO pressure"
NAME_BACK = "ALTER TABLE public.diabetes_new RENAME COLUMN pressure TO blood_pressure"
REASON = "blood_pressure:missing"
"""No other test rejects an event for this column alone."""


@pytest.fixture(scope="module", autouse=True)
def model(storage: Storage) -> Iterator[None]:
    with released(storage):
        yield


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        database_url(stack, "postgres", "diabetes"), autocommit=True
    ) as connection:
        yield connection


@contextmanager
def altered(database: psycopg.Connection, change: bytes, revert: bytes) -> Iterator[None]:
    """Change the table during the block."""
    database.execute(change)
    try:
        yield
    finally:
        database.execute(revert)


def alerts(stack: Stack) -> list[dict[str, object]]:
    """Return the alerts that were raised for the column."""
    if not stack.settings.alerts.exists():
        return []
    lines = map(json.loads, stack.settings.alerts.read_text(encoding="utf-8").splitlines())
    return [a for a in lines if REASON in a.get("reasons", ()) and a["state"] == "raised"]


def rejected(stack: Stack, row_id: int) -> list[list[str]]:
    """Return the reasons of each dead letter of one patient."""
    return [
        json.loads(dict(letter.headers() or [])["reasons"] or b"")
        for letter in messages(stack, REJECTED_TOPIC)
        if letter.key() and f'"id":{row_id}}}'.encode() in letter.key().replace(b" ", b"")
    ]


def test_the_stream_continues_when_a_nullable_column_is_added(
    stack: Stack, database: psycopg.Connection
) -> None:
    with altered(database, ADD.encode(), DROP.encode()):
        row_id = insert(database)
        within(60, lambda: prediction_count(database, row_id) == 1)
        # Too large for every topic: the source must not stop at a column that nobody reads.
        change = (
            "UPDATE public.diabetes_new SET note = repeat('x', 2000000), age = 51 WHERE id = %s"
        )
        database.execute(change, [row_id])
        within(60, lambda: prediction_count(database, row_id) == 2)
        assert [tuple(image or ()) for image in written(stack, row_id)] == [SINK_KEYS] * 2
    later = insert(database)
    within(60, lambda: prediction_count(database, later) == 1)


def test_rows_without_a_required_column_become_dead_letters_and_raise_one_alert(
    stack: Stack, database: psycopg.Connection
) -> None:
    alert_count = len(alerts(stack))
    rows = "INSERT INTO public.diabetes_new (pregnancies, diabetes_pedigree_function, age)"
    with altered(database, RENAME.encode(), NAME_BACK.encode()):
        ids = [
            int(row[0])
            for _ in range(3)
            for row in database.execute(f"{rows} VALUES (1, 0.5, 30) RETURNING id".encode())
        ]
        for row_id in ids:
            within(60, lambda row_id=row_id: rejected(stack, row_id) == [[REASON]])
        within(90, lambda: len(alerts(stack)) > alert_count)
    row_id = insert(database)
    within(60, lambda: prediction_count(database, row_id) == 1)
    (alert,) = alerts(stack)[alert_count:]
    assert alert["topic"] == REJECTED_TOPIC
    assert [prediction_count(database, patient_id) for patient_id in ids] == [0, 0, 0]
