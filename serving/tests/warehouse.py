"""A real warehouse for the tests, and predictions in it as the predictor stores them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from diabetes_platform.contract.fields import RESULT_LABELS
from diabetes_platform.contract.topics import PREDICTED_CHANNEL
from serving.app.settings import PROJECT_ROOT
from serving.tests.samples import CONTRIBUTIONS

PYTHON = PROJECT_ROOT / ".platform/venvs/platform/bin/python"

_MILLISECONDS_AFTER_CHANGE = {
    "changed_at": 0,
    "captured_at": 10,
    "judged_at": 20,
    "consumed_at": 30,
    "scored_at": 35,
    "stored_at": 40,
}


class Warehouse:
    """A server with the platform's roles and tables, in a process of the platform's environment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        urls = json.loads(self._read_line())
        self.superuser, self.api, self.predictor = (
            urls[user] for user in ("superuser", "api", "predictor")
        )

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Stop the server within the block."""
        self._command("stop", "stopped")
        try:
            yield
        finally:
            self._command("start", "started")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server's processes (SIGSTOP) within the block: they accept and never respond."""
        self._command("freeze", "frozen")
        try:
            yield
        finally:
            self._command("thaw", "thawed")

    @contextmanager
    def without_constraint(self, table: str, name: str) -> Iterator[None]:
        """Remove a constraint within the block; rows that violate it stay, as in old tables."""
        ((rule,),) = self.rows(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s"
            " AND conrelid = %s::regclass",
            name,
            table,
        )
        self.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        try:
            yield
        finally:
            self.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule}")

    def predict(
        self,
        patient_id: int,
        *,
        lsn: int = 1,
        model_version: str = "0123456789ab",
        probability: float = 0.73,
        notify: bool = True,
        changed_at: datetime | None = None,
    ) -> str:
        """Store a prediction and notify in one transaction; return its event id.

        `changed_at` is the time of the patient's change, by default now.
        """
        changed_at = changed_at or datetime.now(UTC)
        row = {
            "intake_id": patient_id,
            "source_lsn": lsn,
            "model_version": model_version,
            "probability": probability,
            "result": RESULT_LABELS[probability >= 0.5],
            "contributions": Jsonb(CONTRIBUTIONS),
            **{
                name: changed_at + timedelta(milliseconds=delay)
                for name, delay in _MILLISECONDS_AFTER_CHANGE.items()
            },
        }
        columns, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        statement = f"INSERT INTO serving.predictions ({columns}) VALUES ({values})"  # noqa: S608
        with psycopg.connect(self.predictor) as connection:
            connection.execute(statement.encode(), row)
            if notify:
                self.notify(connection, json.dumps([patient_id]))
        return f"{lsn}-{model_version}"

    @staticmethod
    def notify(connection: psycopg.Connection[Any], payload: str) -> None:
        """Send a notification of new predictions."""
        connection.execute("SELECT pg_notify(%s, %s)", (PREDICTED_CHANNEL, payload))

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query by the superuser."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def count_patients(self) -> int:
        """Return the number of stored patients."""
        ((count,),) = self.rows("SELECT count(*) FROM diabetes_new")
        return int(count)

    def execute(self, statement: str, *values: object) -> None:
        """Execute a statement as the superuser."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def _command(self, command: str, reply: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._read_line().strip() == reply

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the warehouse's process ended"
        return line


@contextmanager
def running_warehouse(directory: Path) -> Iterator[Warehouse]:
    """Run a warehouse within the block."""
    command = [str(PYTHON), "-m", "diabetes_platform_tests.warehouse_process", str(directory)]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Warehouse(process)
        # The process ends when its standard input is closed.
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0
