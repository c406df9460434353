"""Patients without an answer, and their emission from the intake table."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.warehouse.intake import (
    EmittedPatients,
    WaitingPatients,
    deleted_patients,
    emit_again,
    emit_next,
    intake_days,
    waiting_patients,
)
from diabetes_platform_tests.samples import EXAMPLE

pytestmark = pytest.mark.integration
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def receive(url: str, *ages: timedelta) -> list[int]:
    """Store patients that were received so long ago; return their ids."""
    names = ", ".join(EXAMPLE)
    values = ", ".join(f"%({name})s" for name in EXAMPLE)
    statement = (
        f"INSERT INTO public.diabetes_new ({names}, received_at) "  # noqa: S608 - the contract's names
        f"VALUES ({values}, now() - %(waited)s) RETURNING id"
    )
    with psycopg.connect(url) as connection:
        rows = [connection.execute(statement.encode(), {**EXAMPLE, "waited": a}) for a in ages]
        return [row.fetchall()[0][0] for row in rows]


def store_as_before_migration_0006(url: str, patient: int, column: str, time: str) -> None:
    """Give a patient a time that the constraint on `column` rejects."""
    name = sql.Identifier(f"{column}_allowed")
    with psycopg.connect(url) as connection:
        rule = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s",
            [f"{column}_allowed"],
        ).fetchall()[0][0]
        table = sql.SQL("ALTER TABLE public.diabetes_new ")
        connection.execute(table + sql.SQL("DROP CONSTRAINT {}").format(name))
        connection.execute(
            sql.SQL("UPDATE public.diabetes_new SET outcome = {}, {} = %s WHERE id = %s").format(
                sql.SQL("1" if column == "outcome_recorded_at" else "outcome"),
                sql.Identifier(column),
            ),
            [time, patient],
        )
        connection.execute(table + sql.SQL("ADD CONSTRAINT {} {}").format(name, sql.SQL(rule)))


OLD_TIMES = [
    ("received_at", "infinity"),
    ("received_at", "0044-03-15 12:00:00+00 BC"),
    ("outcome_recorded_at", "infinity"),
    ("outcome_recorded_at", "1899-12-31 23:59:59+00"),
]


def answer(url: str, patient: int, age: timedelta, lsn: int = 1) -> None:
    """Store a prediction for a change of a patient that was committed so long ago."""
    changed_at = datetime.now(UTC) - age
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO serving.predictions (intake_id, source_lsn, model_version, probability,"
            " result, contributions, changed_at, captured_at, consumed_at, scored_at, judged_at)"
            " VALUES (%s, %s, 'a', 0.5, 'Normal', '{}', %s, now(), now(), now(), now())",
            [patient, lsn, changed_at],
        )


def record_outcome(url: str, patient: int, age: timedelta) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE public.diabetes_new SET outcome = 1, outcome_recorded_at = now() - %s"
            " WHERE id = %s",
            [age, patient],
        )


def waiting(url: str, older_than: timedelta, limit: int) -> list[int]:
    return list(waiting_patients(url, older_than, limit, {}).ids)


def test_a_patient_waits_until_the_newest_change_has_a_prediction(warehouse: str) -> None:
    lost, answered, outcome_lost, new = receive(warehouse, HOUR, HOUR, HOUR, timedelta(0))
    answer(warehouse, answered, HOUR - MINUTE)
    answer(warehouse, outcome_lost, HOUR - MINUTE)
    record_outcome(warehouse, outcome_lost, 10 * MINUTE)
    assert waiting(warehouse, MINUTE, 10) == [lost, outcome_lost]
    assert waiting(warehouse, MINUTE, 1) == [lost]
    assert new in waiting(warehouse, timedelta(0), 10)
    answer(warehouse, outcome_lost, 10 * MINUTE - timedelta(seconds=1), lsn=2)
    assert waiting(warehouse, MINUTE, 10) == [lost]


def test_a_rejected_patient_waits_only_for_a_later_change(warehouse: str) -> None:
    lost, rejected, outcome_lost, answered = receive(warehouse, HOUR, HOUR, HOUR, HOUR)
    record_outcome(warehouse, outcome_lost, 10 * MINUTE)
    answer(warehouse, answered, MINUTE)
    half_an_hour_ago = datetime.now(UTC) - HOUR / 2
    rejections = dict.fromkeys([4711, rejected, outcome_lost, answered], half_an_hour_ago)
    patients = waiting_patients(warehouse, MINUTE, 10, rejections)
    assert patients == WaitingPatients([lost, outcome_lost], 1)
    rejections[outcome_lost] = datetime.now(UTC) - 9 * MINUTE
    assert waiting_patients(warehouse, MINUTE, 10, rejections) == WaitingPatients([lost], 2)
    # However many are rejected, they hide nobody who waits.
    rejections = dict.fromkeys([rejected, outcome_lost], datetime.now(UTC))
    assert waiting_patients(warehouse, MINUTE, 1, rejections) == WaitingPatients([lost], 2)


def test_an_emitted_row_is_written_again_without_a_difference(warehouse: str) -> None:
    patients = receive(warehouse, HOUR, HOUR, HOUR)
    with psycopg.connect(warehouse) as connection:
        select = "SELECT id, to_jsonb(d) AS row, xmin::text FROM public.diabetes_new d ORDER BY id"
        stored = connection.execute(select).fetchall()
        assert emit_again(warehouse, [*patients[:2], 4711]) == 2
        connection.commit()
        emitted = connection.execute(select).fetchall()
    assert [row[:2] for row in stored] == [row[:2] for row in emitted]
    assert [b[2] != a[2] for b, a in zip(stored, emitted, strict=True)] == [True, True, False]


def test_emits_patients_in_the_order_of_their_ids_whether_they_have_an_answer_or_not(
    warehouse: str,
) -> None:
    first, second, third = receive(warehouse, HOUR, HOUR, timedelta(0))
    answer(warehouse, first, MINUTE)
    assert emit_next(warehouse, 0, 2) == EmittedPatients(2, second)
    assert emit_next(warehouse, second, 2) == EmittedPatients(1, third)
    assert emit_next(warehouse, third, 2) == EmittedPatients(0, None)
    with psycopg.connect(warehouse) as connection:
        select = "SELECT count(DISTINCT xmin::text) FROM public.diabetes_new"
        assert connection.execute(select).fetchone() == (2,), "two transactions have written them"


@pytest.mark.parametrize(("column", "time"), OLD_TIMES)
def test_an_old_row_that_no_update_may_touch_does_not_hinder_the_others(
    warehouse: str, column: str, time: str
) -> None:
    first, old, last = receive(warehouse, HOUR, HOUR, HOUR)
    store_as_before_migration_0006(warehouse, old, column, time)
    assert waiting(warehouse, MINUTE, 10) == [first, last]
    assert emit_again(warehouse, [first, old, last]) == 2
    assert emit_next(warehouse, 0, 2) == EmittedPatients(1, old, skipped=1)
    assert emit_next(warehouse, first, 1) == EmittedPatients(0, old, skipped=1)
    assert emit_next(warehouse, old, 2) == EmittedPatients(1, last)


def test_patients_are_read_in_pages(warehouse: str) -> None:
    first, second, third = receive(warehouse, HOUR, HOUR, HOUR)
    assert waiting_patients(warehouse, MINUTE, 1, {}, after_id=first).ids == [second]
    assert waiting_patients(warehouse, MINUTE, 9, {}, after_id=third).ids == []
    for deleted in (4711, 4712, 4713):
        answer(warehouse, deleted, MINUTE)
    assert deleted_patients(warehouse, 2) == [4711, 4712]
    assert deleted_patients(warehouse, 2, after_id=4712) == [4713]


def test_nothing_is_emitted_without_ids(warehouse: str) -> None:
    receive(warehouse, HOUR)
    assert emit_again(warehouse, []) == 0


def test_counts_the_patients_of_each_day(warehouse: str) -> None:
    receive(warehouse, 2 * MINUTE, timedelta(days=3), timedelta(days=3), timedelta(days=40))
    (first, *_) = receive(warehouse, timedelta(days=3, minutes=1))
    record_outcome(warehouse, first, timedelta(days=2))
    now = datetime.now(UTC)
    days = intake_days(warehouse, now - timedelta(days=30), now - MINUTE, {})
    assert sum(day.patients for day in days) == 4
    assert days[0].newest is not None
    assert abs(days[0].newest - (now - timedelta(days=2))) < MINUTE
    assert days[0].day < days[-1].day


def test_counts_what_is_before_a_time_however_late_the_count_is(warehouse: str) -> None:
    first, _ = receive(warehouse, 20 * MINUTE, 10 * MINUTE)
    record_outcome(warehouse, first, 10 * MINUTE)
    now = datetime.now(UTC)
    until = now - 15 * MINUTE
    days = intake_days(warehouse, now - timedelta(days=30), until, {})
    assert [(day.patients, day.newest) for day in days] == [(1, None)]
    assert intake_days(warehouse, now - timedelta(days=30), now - 30 * MINUTE, {}) == []


def test_counts_rejected_patients_separately(warehouse: str) -> None:
    first, second, third = receive(warehouse, HOUR, HOUR, HOUR)
    record_outcome(warehouse, second, 10 * MINUTE)
    record_outcome(warehouse, third, 5 * MINUTE)
    now = datetime.now(UTC)
    since = now - timedelta(days=30)
    rejections = {first: now - HOUR / 2, second: now - HOUR / 2, third: now}
    days = intake_days(warehouse, since, now - MINUTE, rejections)
    assert sum(day.patients for day in days) == 1
    assert sum(day.rejected for day in days) == 2
    (newest,) = [day.newest for day in days if day.newest is not None]
    assert abs(newest - (now - 10 * MINUTE)) < MINUTE
