"""The pool of connections: callers that leave in the middle cost it none."""

import asyncio
import random

import anyio
import anyio.lowlevel
import pytest

from serving.app.database import Database
from serving.tests.warehouse import Warehouse

CONNECTIONS, CALLERS, ROUNDS = 4, 12, 60


async def look(database: Database, seen: set[int]) -> None:
    while True:
        async with database.connection() as connection:
            seen.add(connection.info.backend_pid)
            await connection.execute("SELECT pg_sleep(0.001)")
        await anyio.lowlevel.checkpoint()


async def connections_of_callers_that_leave(url: str) -> set[int]:
    """Be callers whose clients close their sockets: every await from some moment on is broken."""
    chance, seen = random.Random(1), set[int]()
    database = Database(url, connections=CONNECTIONS)
    await database.open()
    try:
        for _ in range(ROUNDS):
            with anyio.move_on_after(chance.uniform(0.001, 0.03)):
                async with anyio.create_task_group() as callers:
                    for _ in range(CALLERS):
                        callers.start_soon(look, database, seen)
    finally:
        await database.close()
    return seen


@pytest.mark.integration
def test_a_client_that_leaves_at_any_moment_costs_no_connection(warehouse: Warehouse) -> None:
    assert len(asyncio.run(connections_of_callers_that_leave(warehouse.api))) == CONNECTIONS
