"""A ledger of changes of the intake table, compared with the stored predictions."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from diabetes_platform.contract.fields import Field as Measurement
from diabetes_platform.polling import wait_until

CREATE = """
CREATE TABLE IF NOT EXISTS public.ledger (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bigint NOT NULL, op text NOT NULL
)
"""
COLUMNS = sql.SQL(", ").join(map(sql.Identifier, FEATURE_NAMES))
# Entry and change are one transaction: a killed server keeps both or neither.
INSERT = sql.SQL(
    "WITH changed AS (INSERT INTO diabetes_new ({}) VALUES ({}) RETURNING id)"
    " INSERT INTO ledger (id, op) SELECT id, 'c' FROM changed RETURNING id"
).format(COLUMNS, sql.SQL(", ").join(sql.Placeholder() for _ in FEATURE_NAMES))
UPDATE = sql.SQL(
    "WITH changed AS (UPDATE diabetes_new SET ({}) = ROW ({}) WHERE id = %s RETURNING id)"
    " INSERT INTO ledger (id, op) SELECT id, 'u' FROM changed"
).format(COLUMNS, sql.SQL(", ").join(sql.Placeholder() for _ in FEATURE_NAMES))
DELETE = sql.SQL(
    "WITH changed AS (DELETE FROM diabetes_new WHERE id = %s RETURNING id)"
    " INSERT INTO ledger (id, op) SELECT id, 'd' FROM changed"
)
EXPECTED = """
SELECT id, count(*) FILTER (WHERE op <> 'd') AS changes, bool_or(op = 'd') AS deleted
FROM ledger GROUP BY id
"""
PREDICTED = """
SELECT intake_id AS id, count(DISTINCT source_lsn) AS changes,
    (array_agg(probability ORDER BY source_lsn DESC, stored_at DESC))[1] AS probability
FROM serving.predictions JOIN (SELECT DISTINCT id FROM ledger) AS ours ON ours.id = intake_id
GROUP BY intake_id
"""
CURRENT = sql.SQL("SELECT id, {} FROM diabetes_new WHERE id IN (SELECT id FROM ledger)").format(
    COLUMNS
)


@dataclass
class Writer:
    """Changes the intake table at `rate` changes a second and reconnects after outages."""

    url: str
    rate: float
    chance: random.Random
    live: list[int] = field(default_factory=list)
    written: int = 0
    outages: int = 0

    def write(self, changes: int, enough: threading.Event) -> None:
        """Make at least `changes` changes, and continue until `enough` is set.

        60 % are new patients, 30 % updates, 10 % deletions.
        """
        started = time.monotonic()
        plan = self._plan(changes, enough)
        step = next(plan, None)
        while step is not None:
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
                    while step is not None:
                        time.sleep(max(0.0, started + self.written / self.rate - time.monotonic()))
                        self._make(connection, step)
                        self.written += 1
                        step = next(plan, None)
            except psycopg.OperationalError:
                # The ledger tells whether the change was committed. The next connection continues.
                self.outages += 1
                time.sleep(0.2)

    def _plan(self, changes: int, enough: threading.Event) -> Iterator[str]:
        while self.written < changes or not enough.is_set():
            yield self.chance.choices("cud", (60, 30, 10))[0] if len(self.live) > 10 else "c"

    def _make(self, connection: psycopg.Connection, op: str) -> None:
        values = [random_value(field, self.chance) for field in FEATURES]
        if op == "c":
            row = connection.execute(INSERT, values).fetchone()
            assert row is not None
            self.live.append(row[0])
            return
        at = self.chance.randrange(len(self.live))
        if op == "u":
            connection.execute(UPDATE, [*values, self.live[at]])
        else:
            self.live[at], self.live[-1] = self.live[-1], self.live[at]
            connection.execute(DELETE, [self.live.pop()])


def random_value(measurement: Measurement, chance: random.Random) -> float | None:
    """Return a value that the contract allows."""
    if not measurement.required and chance.random() < 0.2:
        return None
    value = chance.uniform(*measurement.typical_mean)
    return round(value) if measurement.kind == "integer" else round(value, 3)


@dataclass(frozen=True, slots=True)
class Balance:
    """The difference between the ledger and the stored predictions."""

    missing: int
    """Changes without a prediction."""
    surplus: int
    """Predictions for deleted patients, or for changes that are not in the ledger."""

    @property
    def even(self) -> bool:
        """Whether each change has exactly its prediction."""
        return not self.missing and not self.surplus


def balance(url: str) -> Balance:
    """Compare the ledger with `serving.predictions`."""
    with psycopg.connect(url) as connection:
        expected = {
            id_: 0 if deleted else changes for id_, changes, deleted in connection.execute(EXPECTED)
        }
        predicted = {id_: changes for id_, changes, _ in connection.execute(PREDICTED)}
    differences = [changes - predicted.get(id_, 0) for id_, changes in expected.items()]
    missing = sum(difference for difference in differences if difference > 0)
    surplus = -sum(difference for difference in differences if difference < 0)
    return Balance(missing, surplus)


def newest(url: str) -> dict[int, tuple[dict[str, Any], float]]:
    """Return each patient's current measurements and the newest prediction's probability."""
    with psycopg.connect(url) as connection:
        predicted = {id_: probability for id_, _, probability in connection.execute(PREDICTED)}
        rows = connection.cursor(row_factory=dict_row).execute(CURRENT).fetchall()
    return {
        row["id"]: ({name: row[name] for name in FEATURE_NAMES}, predicted[row["id"]])
        for row in rows
    }


def final_balance(url: str, timeout: float) -> Balance:
    """Return the balance as soon as it is even, or the last one before the deadline."""
    with suppress(TimeoutError):
        wait_until(lambda: balance(url).even, timeout=timeout, interval=1)
    return balance(url)


def assert_scored(url: str, api: str) -> None:
    """Check that the newest predictions equal those of the API for the current measurements."""
    patients = list(newest(url).values())
    assert patients
    for first in range(0, len(patients), 1000):
        chunk = patients[first : first + 1000]
        rows = [row for row, _ in chunk]
        response = httpx.post(f"{api}/predict/batch", json=rows, timeout=60, trust_env=False)
        results = response.raise_for_status().json()["results"]
        scores = [result["probability"] for result in results]
        assert scores == pytest.approx([probability for _, probability in chunk])
