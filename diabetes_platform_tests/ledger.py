"""A ledger of changes of the intake table, and what the stream must have made of them."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from diabetes_platform.contract.fields import Field as Measurement

CREATE = """
CREATE TABLE IF NOT EXISTS public.ledger (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bigint NOT NULL, op text NOT NULL
)
"""
COLUMNS = sql.SQL(", ").join(map(sql.Identifier, FEATURE_NAMES))
# The entry and the change are one transaction: of a server that was killed, both or none stayed.
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
    """Changes the intake table at `rate` changes a second, over as many connections as it takes."""

    url: str
    rate: float
    chance: random.Random
    live: list[int] = field(default_factory=list)
    written: int = 0
    outages: int = 0

    def write(self, changes: int, enough: threading.Event) -> None:
        """Make as many changes and more until there are `enough`.

        More than half of them are new patients, some change, few are deleted.
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
                # Whether the change was kept is in the ledger; the next connection goes on.
                self.outages += 1
                time.sleep(0.2)

    def _plan(self, changes: int, enough: threading.Event) -> Iterator[str]:
        while self.written < changes or not enough.is_set():
            yield self.chance.choices("cud", (60, 30, 10))[0] if len(self.live) > 10 else "c"

    def _make(self, connection: psycopg.Connection, op: str) -> None:
        values = [measured(one, self.chance) for one in FEATURES]
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


def measured(one: Measurement, chance: random.Random) -> float | None:
    """A value that the contract allows."""
    if not one.required and chance.random() < 0.2:
        return None
    value = chance.uniform(*one.typical_mean)
    return round(value) if one.kind == "integer" else round(value, 3)


@dataclass(frozen=True, slots=True)
class Balance:
    """What the ledger says against what is stored."""

    missing: int
    """Changes without a prediction."""
    surplus: int
    """Predictions of patients that were deleted, or of changes that were never made."""

    @property
    def even(self) -> bool:
        """Whether nothing is lost and nothing too much."""
        return not self.missing and not self.surplus


def balance(url: str) -> Balance:
    """Compare the ledger with `serving.predictions`."""
    with psycopg.connect(url) as connection:
        expected = {
            id_: 0 if deleted else changes for id_, changes, deleted in connection.execute(EXPECTED)
        }
        predicted = {id_: changes for id_, changes, _ in connection.execute(PREDICTED)}
    differences = [changes - predicted.get(id_, 0) for id_, changes in expected.items()]
    return Balance(
        sum(one for one in differences if one > 0), -sum(one for one in differences if one < 0)
    )


def newest(url: str) -> dict[int, tuple[dict[str, Any], float]]:
    """Return each living patient's present measurements and the newest prediction's probability."""
    with psycopg.connect(url) as connection:
        predicted = {id_: probability for id_, _, probability in connection.execute(PREDICTED)}
        rows = connection.cursor(row_factory=dict_row).execute(CURRENT).fetchall()
    return {
        row["id"]: ({name: row[name] for name in FEATURE_NAMES}, predicted[row["id"]])
        for row in rows
    }
