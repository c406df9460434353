"""The connection pool keeps its connections when clients disconnect."""

import asyncio
import random

import anyio
import anyio.lowlevel
import pytest

from serving.app.database import Database
from serving.tests.warehouse import Warehouse

CONNECTIONS, CALLERS, ROUNDS = 4, 12, 60


async def query_forever(database: Database, backends: set[int]) -> None:
    while True:
        async with database.connection() as connection:
            backends.add(connection.info.backend_pid)
            await connection.execute("SELECT pg_sleep(0.001)")
        await anyio.lowlevel.checkpoint()


async def backends_used_by_cancelled_callers(url: str) -> set[int]:
    """Return the server processes that callers used who were cancelled at random moments."""
    chance, backends = random.Random(1), set[int]()
    database = Database(url, connections=CONNECTIONS)
    async with database.pool:
        for _ in range(ROUNDS):
            with anyio.move_on_after(chance.uniform(0.001, 0.03)):
                async with anyio.create_task_group() as callers:
                    for _ in range(CALLERS):
                        callers.start_soon(query_forever, database, backends)
    return backends


@pytest.mark.integration
def test_a_cancelled_caller_returns_its_connection(warehouse: Warehouse) -> None:
    backends = asyncio.run(backends_used_by_cancelled_callers(warehouse.api))
    assert len(backends) == CONNECTIONS
