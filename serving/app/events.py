"""The stream of one patient's predictions as server-sent events."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from psycopg.rows import DictRow

from serving.app.database import Database, DatabaseUnavailableError
from serving.app.feed import PredictionFeed
from serving.app.patients import BATCH, Cursor, predictions_after
from serving.app.presenting import Presenter

RECONNECT_MILLISECONDS = 1000
"""When a client that lost its stream comes again."""
_RETRY_SECONDS = 1.0
_EVENT_ID = re.compile(r"(\d{1,19})-([A-Za-z0-9._-]{1,100})")

UNAVAILABLE = b'event: unavailable\ndata: {"detail":"The database cannot be reached."}\n\n'


def cursor_of(event_id: str) -> Cursor:
    """Read a `Last-Event-ID`; ValueError for what no stream has sent."""
    found = _EVENT_ID.fullmatch(event_id)
    if not found or int(found[1]) >= 2**63:
        raise ValueError("no event id")
    return Cursor(int(found[1]), found[2])


async def events(
    database: Database,
    feed: PredictionFeed,
    presenter: Presenter,
    patient_id: int,
    last: Cursor,
    *,
    heartbeat_seconds: float,
) -> AsyncGenerator[bytes]:
    """Yield an event for each prediction of the patient after `last`, until the client leaves.

    Between them a comment every `heartbeat_seconds`, and one `unavailable` event per outage.
    Nothing at all for a patient that is not there; DatabaseUnavailableError before the first one.
    """
    with feed.subscribed(patient_id) as news:
        rows = await predictions_after(database, patient_id, last)
        if rows is None:
            return
        yield format_sse_event(retry=RECONNECT_MILLISECONDS)
        reachable = True
        while True:
            for row in rows:
                last = Cursor(row["source_lsn"], row["model_version"])
                data = await presenter.event(row)
                yield format_sse_event(event="prediction", data_str=data, id=str(last))
            if len(rows) < BATCH and not await _rung(
                news, heartbeat_seconds if reachable else min(_RETRY_SECONDS, heartbeat_seconds)
            ):
                yield KEEPALIVE_COMMENT
            if feed.closing:
                return
            # Before the look: what is stored during it rings again.
            news.clear()
            found = await _news(database, feed, patient_id, last)
            if found is None and reachable:
                yield UNAVAILABLE
            reachable, rows = found is not None, found or []


async def _news(
    database: Database, feed: PredictionFeed, patient_id: int, last: Cursor
) -> list[DictRow] | None:
    """Return the predictions after `last`, None where the database cannot be asked."""
    try:
        async with feed.looking:
            return await predictions_after(database, patient_id, last) or []
    except DatabaseUnavailableError:
        return None


async def begun(stream: AsyncGenerator[bytes]) -> AsyncIterator[bytes] | None:
    """Return `stream` after it has made its first event; None where it makes none.

    What it raises by then is raised here, while a response may still be another one.
    """
    first = await anext(stream, None)
    return None if first is None else _after(first, stream)


async def _after(first: bytes, stream: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(stream):
        yield first
        async for each in stream:
            yield each


async def _rung(news: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True
