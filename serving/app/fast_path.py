"""`POST /predict` without a framework's overhead: the same judgement, answered as plain ASGI.

Whatever is not exactly this request goes on to FastAPI, whose declared route answers it alike.
"""

import logging
from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app.body import BodyTooLargeError, ClientGoneError, is_json, read_body
from serving.app.champion import ChampionWatcher
from serving.app.metrics import Metrics
from serving.app.predicting import predict
from serving.app.problems import API_HEADERS, Answer, body_too_large, failure

PREDICT = "/predict"

_HEADERS = [(name.encode(), value.encode()) for name, value in API_HEADERS.items()]

logger = logging.getLogger("serving.predict")


class PredictFastPath:
    """ASGI application in front of the API."""

    def __init__(
        self, app: ASGIApp, watcher: ChampionWatcher, metrics: Metrics, *, max_body_bytes: int
    ) -> None:
        self._app = app
        self._watcher = watcher
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction here, pass everything else on."""
        if not (
            scope["type"] == "http"
            and scope["path"] == PREDICT
            and scope["method"] == "POST"
            and not scope["query_string"]
            and is_json(scope["headers"])
        ):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, self._max_body_bytes)
        except ClientGoneError:
            return
        except BodyTooLargeError as error:
            answer = body_too_large(error.limit)
            self._metrics.observe(PREDICT, answer.status, 0)
        else:
            started = perf_counter()
            answer = self._predict(body)
            self._metrics.observe(PREDICT, answer.status, perf_counter() - started)
        await _send_answer(answer, send)

    def _predict(self, body: bytes) -> Answer:
        try:
            return predict(self._watcher.current, body)
        except Exception:
            logger.exception("a prediction failed")
            return failure()


async def _send_answer(answer: Answer, send: Send) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
