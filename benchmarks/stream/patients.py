"""The load: patients stored at a steady rate, and the latency of each prediction."""

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
"""Concurrent database connections: a commit waits for the disk."""

AfterInsert = Callable[[psycopg.AsyncConnection[Any], int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending the INSERT to reading the event, and of each stage."""

    milliseconds: float
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Round:
    """The latencies of one round, without its warm-up."""

    latencies: Sequence[Latency]
    rows_per_second: float

    def quantile(self, probability: float, stage: str | None = None) -> float:
        """Return a quantile of the total latencies, or of those of one stage."""
        values = sorted(
            latency.milliseconds if stage is None else latency.stages.get(stage, float("nan"))
            for latency in self.latencies
        )
        return values[min(len(values) - 1, int(probability * len(values)))]

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return tuple(self.latencies[0].stages)


async def measure(
    url: str,
    port: int,
    rate: float,
    seconds: float,
    warm_up: float,
    after_insert: AfterInsert | None = None,
) -> Round:
    """Store `rate` patients per second for `seconds` and wait for all predictions.

    `after_insert` is called in the transaction of each patient. Raises TimeoutError if a prediction
    does not arrive.
    """
    rows, warm_up_rows = int(rate * seconds), int(rate * warm_up)
    connections: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    pool = [await psycopg.AsyncConnection.connect(url) for _ in range(CONNECTIONS)]
    for connection in pool:
        connections.put_nowait(connection)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(warm_up_rows + rows):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            tasks.append(group.create_task(_measure_patient(connections, port, after_insert)))
        elapsed = time.perf_counter() - started
    for connection in pool:
        await connection.close()
    latencies = [task.result() for task in tasks[warm_up_rows:]]
    return Round(latencies, (warm_up_rows + rows) / elapsed)


async def _measure_patient(
    connections: asyncio.Queue[psycopg.AsyncConnection[Any]],
    port: int,
    after_insert: AfterInsert | None,
) -> Latency:
    connection = await connections.get()
    try:
        started = time.perf_counter()
        async with connection.transaction():
            row = await (await connection.execute(INSERT)).fetchone()
            assert row is not None  # noqa: S101 - RETURNING returns one row
            if after_insert is not None:
                await after_insert(connection, row[0])
    finally:
        connections.put_nowait(connection)
    async with asyncio.timeout(LOST_SECONDS):
        event = await _first_prediction(port, row[0])
    milliseconds = 1000 * (time.perf_counter() - started)
    stages = {stage["name"]: stage["milliseconds"] for stage in event["hops"]}
    delivery = datetime.now(UTC) - datetime.fromisoformat(event["stored_at"])
    stages["events"] = 1000 * delivery.total_seconds()
    return Latency(milliseconds, stages)


async def _first_prediction(port: int, patient: int) -> dict[str, Any]:
    # Plain sockets: at 100 patients per second the time of a client library would matter.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = f"GET /patients/{patient}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        writer.write(request.encode("ascii"))
        is_prediction = False
        while line := await reader.readline():
            is_prediction = is_prediction or line.startswith(b"event: prediction")
            if is_prediction and line.startswith(b"data: "):
                event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                return event
        raise ConnectionError(f"the stream of patient {patient} ended without a prediction")
    finally:
        writer.close()
