"""The stream of one patient's predictions as server-sent events."""

import asyncio
import re
from collections.abc import AsyncIterator

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

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
) -> AsyncIterator[bytes]:
    """Yield an event for each prediction of the patient after `last`, until the client leaves.

    Between them a comment every `heartbeat_seconds`, and one `unavailable` event per outage.
    """
    reachable = True
    with feed.subscribed(patient_id) as news:
        yield format_sse_event(retry=RECONNECT_MILLISECONDS)
        while not feed.closing:
            # Before the look: what is stored during it rings again.
            news.clear()
            try:
                rows = await predictions_after(database, patient_id, last)
            except DatabaseUnavailableError:
                if reachable:
                    yield UNAVAILABLE
                reachable, rows = False, []
            else:
                reachable = True
            for row in rows:
                last = Cursor(row["source_lsn"], row["model_version"])
                data = await presenter.event(row)
                yield format_sse_event(event="prediction", data_str=data, id=str(last))
            if len(rows) < BATCH and not await _rung(
                news, heartbeat_seconds if reachable else min(_RETRY_SECONDS, heartbeat_seconds)
            ):
                yield KEEPALIVE_COMMENT


async def _rung(news: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True
