"""Columns of the intake table that come and go while the whole platform runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from diabetes_platform.contract.events import REJECTED_TOPIC, SINK_KEYS
from diabetes_platform.local.environments import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform_tests.answering import answers, released
from diabetes_platform_tests.integration.test_stream_job import insert, messages, written
from diabetes_platform_tests.services import within
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ADD = "ALTER TABLE public.diabetes_new ADD COLUMN note text"
DROP = "ALTER TABLE public.diabetes_new DROP COLUMN note"
RENAME = "ALTER TABLE public.diabetes_new RENAME COLUMN blood_pressure TO pressure"
NAME_BACK = "ALTER TABLE public.diabetes_new RENAME COLUMN pressure TO blood_pressure"
REASON = "blood_pressure:missing"
"""Of this column alone no other test's broken event gives it."""


@pytest.fixture(scope="module", autouse=True)
def model(storage: Storage) -> Iterator[None]:
    with released(storage):
        yield


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url(stack, "postgres", "diabetes"), autocommit=True) as opened:
        yield opened


@contextmanager
def altered(database: psycopg.Connection, change: bytes, back: bytes) -> Iterator[None]:
    """Have a changed table within the block."""
    database.execute(change)
    try:
        yield
    finally:
        database.execute(back)


def alerts(stack: Stack) -> list[dict[str, object]]:
    """The alerts that were raised for the column."""
    if not stack.settings.alerts.exists():
        return []
    lines = map(json.loads, stack.settings.alerts.read_text(encoding="utf-8").splitlines())
    return [one for one in lines if REASON in one.get("reasons", ()) and one["state"] == "raised"]


def rejected(stack: Stack, row_id: int) -> list[list[str]]:
    """The reasons of each dead letter of one patient."""
    return [
        json.loads(dict(one.headers() or [])["reasons"] or b"")
        for one in messages(stack, REJECTED_TOPIC)
        if one.key() and f'"id":{row_id}}}'.encode() in one.key().replace(b" ", b"")
    ]


def test_a_new_nullable_column_stops_nothing(stack: Stack, database: psycopg.Connection) -> None:
    with altered(database, ADD.encode(), DROP.encode()):
        row_id = insert(database)
        within(60, lambda: answers(database, row_id) == 1)
        # As large as no topic takes it: the source must not stop at what nobody reads.
        change = (
            "UPDATE public.diabetes_new SET note = repeat('x', 2000000), age = 51 WHERE id = %s"
        )
        database.execute(change, [row_id])
        within(60, lambda: answers(database, row_id) == 2)
        assert [tuple(image or ()) for image in written(stack, row_id)] == [SINK_KEYS] * 2
    later = insert(database)
    within(60, lambda: answers(database, later) == 1)


def test_rows_without_a_required_column_are_dead_letters_and_raise_one_alert(
    stack: Stack, database: psycopg.Connection
) -> None:
    before = len(alerts(stack))
    rows = "INSERT INTO public.diabetes_new (pregnancies, diabetes_pedigree_function, age)"
    with altered(database, RENAME.encode(), NAME_BACK.encode()):
        ids = [
            int(found[0])
            for _ in range(3)
            for found in database.execute(f"{rows} VALUES (1, 0.5, 30) RETURNING id".encode())
        ]
        for row_id in ids:
            within(60, lambda row_id=row_id: rejected(stack, row_id) == [[REASON]])
        within(90, lambda: len(alerts(stack)) > before)
    row_id = insert(database)
    within(60, lambda: answers(database, row_id) == 1)
    (alert,) = alerts(stack)[before:]
    assert alert["topic"] == REJECTED_TOPIC
    assert [answers(database, one) for one in ids] == [0, 0, 0]
