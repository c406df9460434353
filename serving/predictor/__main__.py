"""`python -m serving.predictor`: runs the predictor until a stop signal."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from serving.app.__main__ import log_config
from serving.app.champion import ChampionWatcher
from serving.predictor.consumer import PredictionConsumer
from serving.predictor.dead_letters import DeadLetterProducer
from serving.predictor.metrics import PredictorMetrics
from serving.predictor.prediction_table import PredictionStore
from serving.predictor.settings import PredictorSettings
from serving.predictor.status import create_status_app
from serving.predictor.worker import Worker


class Predictor:
    """The worker's thread, the champion watcher, and the HTTP server for health and metrics."""

    def __init__(self, settings: PredictorSettings) -> None:
        self.failure: BaseException | None = None
        metrics = PredictorMetrics()
        self._watcher = ChampionWatcher(
            settings.models, metrics, poll_seconds=settings.model_poll_seconds, s3=settings.s3
        )
        self._worker = Worker(
            PredictionConsumer(settings.bootstrap_servers, metrics),
            PredictionStore(settings.database_url.get_secret_value()),
            DeadLetterProducer(settings.bootstrap_servers),
            self._watcher,
            metrics,
            batch_size=settings.predictor_batch,
        )
        app = create_status_app(self._worker.state, self._watcher, metrics, self._lifespan)
        config = uvicorn.Config(
            app,
            host=settings.predictor_host,
            port=settings.port,
            log_config=log_config(),
            access_log=False,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Run until a stop signal; raise the worker's error if it ends before."""
        self._server.run()
        if self.failure is not None:
            raise self.failure

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watcher.run(), name="follow-champion")
        working = asyncio.create_task(asyncio.to_thread(self._worker.run), name="work")
        working.add_done_callback(self._stop_server)
        try:
            yield
        finally:
            self._worker.stop()
            await asyncio.wait({working})
            watching.cancel()

    def _stop_server(self, working: "asyncio.Task[None]") -> None:
        self.failure = working.exception()
        self._server.should_exit = True


def main() -> None:
    """Run the predictor; exit with code 0 after a stop signal."""
    # uvicorn raises the signal again after its shutdown.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    Predictor(PredictorSettings()).run()


if __name__ == "__main__":
    main()
