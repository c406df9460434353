"""Server-sent events with a patient's predictions.

One connection per process listens for PostgreSQL's notifications and wakes the streams of the
patients in them. Each stream then reads its own patient's predictions from the table.
"""

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress

import psycopg
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from psycopg import sql
from pydantic_core import to_json

from diabetes_platform.contract.topics import PREDICTED_CHANNEL
from serving.app.database import CONNECT, Database, DatabaseError
from serving.app.metrics import Metrics
from serving.app.patients.presenter import Presenter
from serving.app.patients.queries import BATCH, EventCursor, predictions_after
from serving.app.problems import ProblemError
from serving.app.validation import field_error

logger = logging.getLogger("serving.events")

RECONNECT_MILLISECONDS = 1000
"""How long a client waits until it reconnects a lost stream."""
_OUTAGE_POLL_SECONDS = 1.0
_FIRST_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 2.0
_EVENT_ID = re.compile(r"(\d{1,19})-([A-Za-z0-9._-]{1,100})")

UNAVAILABLE = b'event: unavailable\ndata: {"detail":"The database cannot be reached."}\n\n'


class PredictionNotifications:
    """The subscriptions of this process's streams, and the connection that wakes them."""

    def __init__(
        self, url: str, metrics: Metrics, *, max_streams: int, concurrent_reads: int
    ) -> None:
        self.closing = False
        self.connected = False
        # One notification may wake many streams. They wait here and not in the connection pool,
        # where they would delay new patients.
        self.read_slots = asyncio.Semaphore(concurrent_reads)
        self._url, self._metrics, self._max_streams = url, metrics, max_streams
        self._subscriptions: dict[int, set[asyncio.Event]] = defaultdict(set)

    def require_capacity(self) -> None:
        """Raise ProblemError if no further stream may be opened."""
        if sum(map(len, self._subscriptions.values())) >= self._max_streams:
            detail = f"This server has {self._max_streams} open streams, the maximum."
            raise ProblemError(503, detail, kind="too-many-streams", retry=True)

    @contextmanager
    def subscription(self, patient_id: int) -> Iterator[asyncio.Event]:
        """Lend an event that is set whenever the patient may have new predictions."""
        wake_up = asyncio.Event()
        self._subscriptions[patient_id].add(wake_up)
        self._metrics.streams.inc()
        try:
            yield wake_up
        finally:
            self._subscriptions[patient_id].discard(wake_up)
            if not self._subscriptions[patient_id]:
                del self._subscriptions[patient_id]
            self._metrics.streams.dec()

    def close(self) -> None:
        """End all streams, because the server stops."""
        self.closing = True
        self.wake_all()

    def wake_all(self) -> None:
        """Make every stream read its predictions."""
        for wake_ups in self._subscriptions.values():
            for wake_up in wake_ups:
                wake_up.set()

    def handle(self, payload: str) -> None:
        """Wake the streams of the patients in a notification."""
        try:
            patient_ids = [int(patient_id) for patient_id in json.loads(payload)]
        except (ValueError, TypeError, OverflowError, RecursionError):
            logger.warning("a notification is not a JSON list of ids: waking every stream")
            self.wake_all()
            return
        for patient_id in patient_ids:
            for wake_up in self._subscriptions.get(patient_id, ()):
                wake_up.set()

    async def run(self) -> None:
        """Listen forever, and reconnect after each failure."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                delay = _FIRST_RETRY_SECONDS if self.connected else delay
                if self.connected or delay == _FIRST_RETRY_SECONDS:
                    logger.warning("not listening for predictions: %s", type(error).__name__)
                self.connected = False
                await asyncio.sleep(delay)
                delay = min(2 * delay, _MAX_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._url, **CONNECT)
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(PREDICTED_CHANNEL)))
            self.connected = True
            logger.info("listening for predictions")
            # Predictions may have been stored while this process did not listen.
            self.wake_all()
            async for notification in connection.notifies():
                self.handle(notification.payload)
        raise psycopg.OperationalError("the connection ended")


def parse_event_id(event_id: str) -> EventCursor:
    """Return the cursor in a `Last-Event-ID`; raise ProblemError if no stream has sent it."""
    match = _EVENT_ID.fullmatch(event_id)
    if not match or int(match[1]) >= 2**63:
        allowed = "the id of an event of this stream: <lsn>-<model version>"
        error = field_error("last-event-id", "not_allowed", event_id, allowed)
        raise ProblemError(422, "A header is not allowed.", [error])
    return EventCursor(int(match[1]), match[2])


async def prediction_events(
    database: Database,
    notifications: PredictionNotifications,
    presenter: Presenter,
    patient_id: int,
    cursor: EventCursor,
    *,
    heartbeat_seconds: float,
) -> AsyncGenerator[bytes]:
    """Yield an event for each prediction of the patient after `cursor`, forever.

    Yields a comment every `heartbeat_seconds` and one `unavailable` event per outage. Ends without
    an event if the patient does not exist. Raises DatabaseError only before the first event.
    """
    with notifications.subscription(patient_id) as wake_up:
        async with database.connection() as connection:
            rows = await predictions_after(connection, patient_id, cursor)
        if rows is None:
            return
        yield format_sse_event(retry=RECONNECT_MILLISECONDS)
        reachable = True
        while True:
            for row in rows:
                cursor = EventCursor(row["source_lsn"], row["model_version"])
                data = to_json(await presenter.prediction(row)).decode()
                yield format_sse_event(event="prediction", data_str=data, id=str(cursor))
            if len(rows) < BATCH:
                seconds = heartbeat_seconds if reachable else _OUTAGE_POLL_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(seconds, heartbeat_seconds)):
                        await wake_up.wait()
                if not wake_up.is_set():
                    yield KEEPALIVE_COMMENT
            if notifications.closing:
                return
            # Cleared before the query: a prediction that is stored during the query sets it again.
            wake_up.clear()
            try:
                async with notifications.read_slots, database.connection() as connection:
                    rows = await predictions_after(connection, patient_id, cursor) or []
                reachable = True
            except DatabaseError:
                if reachable:
                    yield UNAVAILABLE
                reachable, rows = False, []


async def start_stream(stream: AsyncGenerator[bytes]) -> AsyncIterator[bytes] | None:
    """Run `stream` to its first event and return a stream of all events; None if it has none.

    Errors before the first event are raised here, while another response can still be sent.
    """
    first_event = await anext(stream, None)
    if first_event is None:
        return None

    async def all_events() -> AsyncIterator[bytes]:
        async with aclosing(stream):
            yield first_event
            async for event in stream:
                yield event

    return all_events()
