"""Patients stored at a steady rate, and when each one's answer reached its server-sent events."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

INSERT = """
INSERT INTO diabetes_new (pregnancies, glucose, bmi, diabetes_pedigree_function, age)
VALUES (1, 120, 28.5, 0.4, 33) RETURNING id
"""
LOST_SECONDS = 30.0
CONNECTIONS = 8
"""That store patients at the same time: a commit waits for the disk."""

Stored = Callable[[psycopg.AsyncConnection[Any], int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answered:
    """Milliseconds from before the INSERT was sent until the event was read, and of each hop."""

    milliseconds: float
    hops: dict[str, float]


@dataclass(frozen=True, slots=True)
class Round:
    """All answers of one round, those of its warm-up apart."""

    answers: Sequence[Answered]
    rows_per_second: float

    def quantile(self, share: float, hop: str | None = None) -> float:
        """Return what `share` of the answers do not exceed, in all or of one hop."""
        values = sorted(
            one.milliseconds if hop is None else one.hops.get(hop, float("nan"))
            for one in self.answers
        )
        return values[min(len(values) - 1, int(share * len(values)))]

    @property
    def hops(self) -> tuple[str, ...]:
        """The names of the hops, in their order."""
        return tuple(self.answers[0].hops)


async def measure(
    url: str, port: int, rate: float, seconds: float, warm_up: float, stored: Stored | None = None
) -> Round:
    """Store `rate` patients a second for `seconds` and wait for all answers.

    `stored` is called in each patient's own transaction. Raises TimeoutError for a lost answer.
    """
    rows, warm_up_rows = int(rate * seconds), int(rate * warm_up)
    connections: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    opened = [await psycopg.AsyncConnection.connect(url) for _ in range(CONNECTIONS)]
    for connection in opened:
        connections.put_nowait(connection)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(warm_up_rows + rows):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            tasks.append(group.create_task(_one(connections, port, stored)))
        elapsed = time.perf_counter() - started
    for connection in opened:
        await connection.close()
    answers = [task.result() for task in tasks[warm_up_rows:]]
    return Round(answers, (warm_up_rows + rows) / elapsed)


async def _one(
    connections: asyncio.Queue[psycopg.AsyncConnection[Any]], port: int, stored: Stored | None
) -> Answered:
    connection = await connections.get()
    try:
        at = time.perf_counter()
        async with connection.transaction():
            row = await (await connection.execute(INSERT)).fetchone()
            assert row is not None  # noqa: S101 - RETURNING gives one row
            if stored is not None:
                await stored(connection, row[0])
    finally:
        connections.put_nowait(connection)
    async with asyncio.timeout(LOST_SECONDS):
        event = await _first_prediction(port, row[0])
    milliseconds = 1000 * (time.perf_counter() - at)
    hops = {one["name"]: one["milliseconds"] for one in event["hops"]}
    delivered = datetime.now(UTC) - datetime.fromisoformat(event["stored_at"])
    hops["events"] = 1000 * delivered.total_seconds()
    return Answered(milliseconds, hops)


async def _first_prediction(port: int, patient: int) -> dict[str, Any]:
    # Plain sockets: at 100 patients a second a client library would be measured too.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = f"GET /patients/{patient}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        writer.write(request.encode("ascii"))
        named = False
        while line := await reader.readline():
            named = named or line.startswith(b"event: prediction")
            if named and line.startswith(b"data: "):
                event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                return event
        raise ConnectionError(f"the stream of patient {patient} ended without a prediction")
    finally:
        writer.close()
