"""The objects behind the patient routes, their start and stop, and the problems of an outage."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response

from serving.app.champion import ChampionWatcher
from serving.app.database import (
    RETRY_SECONDS,
    Database,
    DatabaseMismatchError,
    DatabaseUnavailableError,
    NoDatabaseError,
)
from serving.app.metrics import Metrics
from serving.app.patients.events import PredictionNotifications, TooManyStreamsError
from serving.app.patients.presenter import Presenter
from serving.app.problems import (
    DATABASE_MISMATCH,
    DATABASE_UNAVAILABLE,
    NO_DATABASE,
    TOO_MANY_STREAMS,
    problem,
)
from serving.app.settings import ServingSettings

_UNAVAILABLE_DETAIL = (
    "The database cannot be reached. The change may or may not have been stored. It is "
    "safe to repeat an outcome, and a patient with the same Idempotency-Key."
)
_MISMATCH_DETAIL = (
    "The database does not match this server: {mismatch}. Nothing was stored. Send the request "
    "again when the operator has brought both to the same version."
)
_NO_DATABASE_DETAIL = (
    "This server has no database and stores no patients: PLATFORM_DATABASE_URL is not set. "
    "POST /predict works without one. `make up` starts the whole platform."
)
_RETRY_AFTER = {"retry-after": str(RETRY_SECONDS)}
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
        await self.database.open()
        listener = asyncio.create_task(self.notifications.run(), name="listen-for-predictions")
        try:
            with _on_stop_signal(self.notifications.close):
                yield
        finally:
            self.notifications.close()
            listener.cancel()
            await asyncio.wait([listener])
            await self.database.close()


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
    """Return the service; raise NoDatabaseError without a database."""
    service: PatientService | None = request.app.state.patient_service
    if service is None:
        raise NoDatabaseError
    return service


PatientServiceDep = Annotated[PatientService, Depends(get_patient_service)]


def install_patient_problems(api: FastAPI) -> None:
    """Make `api` send the errors of the patient service as problems."""

    @api.exception_handler(NoDatabaseError)
    async def no_database(_request: Request, _error: NoDatabaseError) -> Response:
        return problem(503, _NO_DATABASE_DETAIL, kind=NO_DATABASE).response()

    @api.exception_handler(DatabaseUnavailableError)
    async def unavailable(_request: Request, _error: DatabaseUnavailableError) -> Response:
        return problem(503, _UNAVAILABLE_DETAIL, kind=DATABASE_UNAVAILABLE).response(_RETRY_AFTER)

    @api.exception_handler(DatabaseMismatchError)
    async def mismatch(_request: Request, error: DatabaseMismatchError) -> Response:
        detail = _MISMATCH_DETAIL.format(mismatch=error)
        return problem(503, detail, kind=DATABASE_MISMATCH).response(_RETRY_AFTER)

    @api.exception_handler(TooManyStreamsError)
    async def too_many_streams(_request: Request, error: TooManyStreamsError) -> Response:
        detail = f"This server has {error.limit} open streams, the maximum."
        return problem(503, detail, kind=TOO_MANY_STREAMS).response(_RETRY_AFTER)


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
