"""`python -m serving.predictor`: the predictor, until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from serving.app.__main__ import log_config
from serving.app.champion import ChampionWatcher
from serving.predictor.dead_letters import DeadLetters
from serving.predictor.inbox import Inbox
from serving.predictor.metrics import PredictorMetrics
from serving.predictor.settings import PredictorSettings
from serving.predictor.status_app import status_app
from serving.predictor.store import PredictionStore
from serving.predictor.worker import Worker

HOST = "127.0.0.1"


class Predictor:
    """The worker's thread, what follows the champion, and the server that tells of both."""

    def __init__(self, settings: PredictorSettings) -> None:
        self.failure: BaseException | None = None
        metrics = PredictorMetrics()
        self._watcher = ChampionWatcher(
            settings.models, metrics, poll_seconds=settings.model_poll_seconds, s3=settings.s3
        )
        self._worker = Worker(
            Inbox(settings.bootstrap_servers, metrics),
            PredictionStore(settings.database_url.get_secret_value()),
            DeadLetters(settings.bootstrap_servers),
            self._watcher,
            metrics,
            batch=settings.predictor_batch,
        )
        app = status_app(self._worker.state, self._watcher, metrics, self._working)
        config = uvicorn.Config(
            app, host=HOST, port=settings.port, log_config=log_config(), access_log=False
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Work until a signal comes; raises what ended the worker before."""
        self._server.run()
        if self.failure is not None:
            raise self.failure

    @asynccontextmanager
    async def _working(self, _app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(self._watcher.run(), name="follow-champion")
        working = asyncio.create_task(asyncio.to_thread(self._worker.run), name="work")
        working.add_done_callback(self._ended)
        try:
            yield
        finally:
            self._worker.stop()
            await asyncio.wait({working})
            following.cancel()

    def _ended(self, working: "asyncio.Task[None]") -> None:
        self.failure = working.exception()
        self._server.should_exit = True


def main() -> None:
    """Run; end with code 0 where a signal asks for it."""
    # uvicorn raises the signal again once it has ended.
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, _leave)
    Predictor(PredictorSettings()).run()


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
