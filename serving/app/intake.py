"""The way in: what the intake routes need, and how its failures are answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response

from serving.app.champion import ChampionWatcher
from serving.app.database import (
    RETRY_SECONDS,
    Database,
    DatabaseMismatchError,
    DatabaseUnavailableError,
    NoDatabaseError,
)
from serving.app.feed import PredictionFeed, TooManyStreamsError
from serving.app.metrics import Metrics
from serving.app.presenting import Presenter
from serving.app.problems import MISMATCH, NO_DATABASE, TOO_MANY_STREAMS, UNAVAILABLE, problem
from serving.app.settings import ServingSettings
from serving.app.shutdown import told_to_stop

UNAVAILABLE_TEXT = (
    "The database cannot be reached at the moment. Whether a change was stored is not known; with "
    "the same Idempotency-Key a patient may be sent again, and an outcome always."
)
MISMATCH_TEXT = (
    "The database is not as this server needs it, and nothing was stored: {told}. "
    "Its operator brings both to the same version; then the request can be sent again."
)
NO_DATABASE_TEXT = (
    "This server has no database (PLATFORM_DATABASE_URL): it takes in no patients. "
    "POST /predict answers without storing anything; `make up` runs the whole platform."
)

_RETRY_AFTER = {"retry-after": str(RETRY_SECONDS)}


@dataclass(frozen=True, slots=True)
class Intake:
    """The database with what is known of its patients, and the news of their predictions."""

    database: Database
    feed: PredictionFeed
    presenter: Presenter


def make_intake(
    settings: ServingSettings, watcher: ChampionWatcher, metrics: Metrics
) -> Intake | None:
    """Return the way in, None without a database."""
    if settings.database_url is None:
        return None
    url = settings.database_url.get_secret_value()
    return Intake(
        Database(url, connections=settings.database_connections),
        PredictionFeed(
            url,
            metrics,
            max_streams=settings.api_max_streams,
            looks=max(1, settings.database_connections // 2),
        ),
        Presenter(watcher),
    )


@asynccontextmanager
async def running(intake: Intake | None) -> AsyncIterator[None]:
    """Connect and listen within the block; does not wait for the database."""
    if intake is None:
        yield
        return
    await intake.database.open()
    listening = asyncio.create_task(intake.feed.run(), name="listen-for-predictions")
    try:
        with told_to_stop(intake.feed.close):
            yield
    finally:
        intake.feed.close()
        listening.cancel()
        await asyncio.wait([listening])
        await intake.database.close()


async def intake_of(request: Request) -> Intake:
    """Return the way in; NoDatabaseError without one.

    A coroutine, for FastAPI calls a plain function in a thread: two switches for each request.
    """
    intake: Intake | None = request.app.state.intake
    if intake is None:
        raise NoDatabaseError
    return intake


def install_intake_problems(api: FastAPI) -> None:
    """Answer the failures of the way in as problems."""

    @api.exception_handler(NoDatabaseError)
    async def no_database(_request: Request, _error: NoDatabaseError) -> Response:
        return problem(503, NO_DATABASE_TEXT, kind=NO_DATABASE).response()

    @api.exception_handler(DatabaseUnavailableError)
    async def unavailable(_request: Request, _error: DatabaseUnavailableError) -> Response:
        return problem(503, UNAVAILABLE_TEXT, kind=UNAVAILABLE).response(_RETRY_AFTER)

    @api.exception_handler(DatabaseMismatchError)
    async def mismatch(_request: Request, error: DatabaseMismatchError) -> Response:
        return problem(503, MISMATCH_TEXT.format(told=error), kind=MISMATCH).response(_RETRY_AFTER)

    @api.exception_handler(TooManyStreamsError)
    async def too_many(_request: Request, error: TooManyStreamsError) -> Response:
        detail = f"This server already has {error.limit} streams open, the most it allows."
        return problem(503, detail, kind=TOO_MANY_STREAMS).response(_RETRY_AFTER)
