"""The objects behind the patient routes, and their start and stop."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

from fastapi import Depends, Request

from serving.app.champion import ChampionWatcher
from serving.app.database import WAIT_SECONDS, Database
from serving.app.metrics import Metrics
from serving.app.patients.event_stream import PredictionNotifications
from serving.app.patients.presenter import Presenter
from serving.app.problems import ProblemError
from serving.app.settings import ServingSettings

_NO_DATABASE_DETAIL = (
    "This server has no database and stores no patients: PLATFORM_DATABASE_URL is not set. "
    "POST /predict works without one. `make up` starts the whole platform."
)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class PatientService:
    """The database, the notifications of new predictions, and the presenter of its rows."""

    database: Database
    notifications: PredictionNotifications
    presenter: Presenter

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect and listen within the block, without waiting for the database."""
        await self.database.pool.open(wait=False)
        listener = asyncio.create_task(self.notifications.run(), name="listen-for-predictions")
        try:
            with _on_stop_signal(self.notifications.close):
                yield
        finally:
            self.notifications.close()
            listener.cancel()
            await asyncio.wait([listener])
            # The supervisor kills the API five seconds after the stop signal.
            await self.database.pool.close(timeout=WAIT_SECONDS)


def create_patient_service(
    settings: ServingSettings, watcher: ChampionWatcher, metrics: Metrics
) -> PatientService | None:
    """Return the service, or None without a database."""
    if settings.database_url is None:
        return None
    url = settings.database_url.get_secret_value()
    notifications = PredictionNotifications(
        url,
        metrics,
        max_streams=settings.api_max_streams,
        concurrent_reads=max(1, settings.database_connections // 2),
    )
    database = Database(url, connections=settings.database_connections)
    return PatientService(database, notifications, Presenter(watcher))


# A coroutine: FastAPI runs a plain function in a thread, which costs two switches per request.
async def get_patient_service(request: Request) -> PatientService:
    """Return the service; raise ProblemError without a database."""
    service: PatientService | None = request.app.state.patient_service
    if service is None:
        raise ProblemError(503, _NO_DATABASE_DETAIL, kind="no-database")
    return service


PatientServiceDep = Annotated[PatientService, Depends(get_patient_service)]


@contextmanager
def _on_stop_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` on the event loop when the process gets a stop signal.

    The previous handlers run as well. The server waits for its open responses before it ends the
    lifespan, and an event stream does not end by itself. Signals reach the main thread only; in
    another thread the caller must end the streams.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous_handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        previous = previous_handlers[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)

    for number in _STOP_SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, previous)
