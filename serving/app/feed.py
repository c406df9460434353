"""News of predictions: one listening connection wakes the streams of the patients concerned.

It carries no answer: each stream reads its own patient's predictions from the table.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from diabetes_platform.contract.events import PREDICTED_CHANNEL
from serving.app.database import CONNECT
from serving.app.metrics import Metrics

logger = logging.getLogger("serving.feed")

_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 2.0


class TooManyStreamsError(Exception):
    """The process already feeds `limit` streams."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class PredictionFeed:
    """Who waits for which patient in this process, and the connection that tells them."""

    def __init__(self, url: str, metrics: Metrics, *, max_streams: int, looks: int) -> None:
        self.closing = False
        # News of many at once: their streams wait for each other here, not in the pool's queue,
        # where they would keep out who is taken in.
        self.looking = asyncio.Semaphore(looks)
        self.connected = False
        self._url = url
        self._metrics = metrics
        self._max_streams = max_streams
        self._waiting: dict[int, set[asyncio.Event]] = defaultdict(set)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._waiting.values()))

    def require_room(self) -> None:
        """Raise TooManyStreamsError where one more stream would be too many."""
        if self.streams >= self._max_streams:
            raise TooManyStreamsError(self._max_streams)

    @contextmanager
    def subscribed(self, patient_id: int) -> Iterator[asyncio.Event]:
        """Lend an event that is set whenever there may be news of this patient."""
        news = asyncio.Event()
        self._waiting[patient_id].add(news)
        self._metrics.streams_changed(self.streams)
        try:
            yield news
        finally:
            self._waiting[patient_id].discard(news)
            if not self._waiting[patient_id]:
                del self._waiting[patient_id]
            self._metrics.streams_changed(self.streams)

    def close(self) -> None:
        """Let all streams end: the server stops."""
        self.closing = True
        self.wake_all()

    def wake_all(self) -> None:
        """Let every stream look for itself."""
        for events in self._waiting.values():
            for news in events:
                news.set()

    def told(self, payload: str) -> None:
        """Wake the streams of the patients that a notification names."""
        try:
            named = json.loads(payload)
            patients = [int(one) for one in named]
        except (ValueError, TypeError, OverflowError, RecursionError):
            logger.warning("a notification is no JSON list of ids: every stream looks for itself")
            self.wake_all()
            return
        for patient_id in patients:
            for news in self._waiting.get(patient_id, ()):
                news.set()

    async def run(self) -> None:
        """Listen for ever, over as many connections as it takes."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                wait = _FIRST_RETRY_SECONDS if self.connected else wait
                if self.connected or wait == _FIRST_RETRY_SECONDS:
                    logger.warning("not listening for predictions: %s", type(error).__name__)
                self.connected = False
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._url, **CONNECT)
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(PREDICTED_CHANNEL)))
            self.connected = True
            logger.info("listening for predictions")
            # What was stored while nobody listened is in the table.
            self.wake_all()
            async for notification in connection.notifies():
                self.told(notification.payload)
        raise psycopg.OperationalError("the connection ended")
