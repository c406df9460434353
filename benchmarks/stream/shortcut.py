"""The lower bound of the latency: a notification in the intake's transaction, without a stream.

The listener requests a prediction from the API, stores it and notifies, as the predictor does.
"""

import json
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.topics import PREDICTED_CHANNEL

CHANNEL = "bench_intake"
_SELECT = f"SELECT {', '.join(FEATURE_NAMES)} FROM diabetes_new WHERE id = %s"  # noqa: S608 - names of the contract
_STORE = """
INSERT INTO serving.predictions (intake_id, source_lsn, model_version, probability, result,
    contributions, changed_at, captured_at, judged_at, consumed_at, scored_at)
VALUES (%s, 0, %s, %s, %s, %s::jsonb, to_timestamp(%s), to_timestamp(%s), to_timestamp(%s),
    to_timestamp(%s), clock_timestamp())
"""


async def notify(connection: psycopg.AsyncConnection[Any], patient: int) -> None:
    """Notify the listener of the patient that this transaction stores."""
    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{patient} {time.time():.6f}"))


class Shortcut:
    """A thread that listens and stores predictions until the block ends."""

    def __init__(self, url: str, api: str) -> None:
        self._url, self._api = url, api
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with (
            psycopg.connect(self._url, autocommit=True) as listener,
            psycopg.connect(self._url, autocommit=True) as connection,
            httpx.Client(base_url=self._api, trust_env=False) as client,
        ):
            listener.execute(f"LISTEN {CHANNEL}")
            self._ready.set()
            while not self._ended.is_set():
                for notification in listener.notifies(timeout=0.2):
                    self._predict(connection, client, *notification.payload.split())

    def _predict(
        self,
        connection: psycopg.Connection[Any],
        client: httpx.Client,
        patient: str,
        notified_at: str,
    ) -> None:
        received_at = time.time()
        values = connection.execute(_SELECT, [int(patient)]).fetchone()
        assert values is not None  # noqa: S101 - the notification is in the transaction that stored it
        patient_row = dict(zip(FEATURE_NAMES, values, strict=True))
        prediction = client.post("/predict?contributions=true", json=patient_row).json()
        with connection.transaction():
            contributions = json.dumps(prediction["contributions"])
            connection.execute(
                _STORE,
                [
                    int(patient),
                    *(prediction[name] for name in ("model_version", "probability", "result")),
                    contributions,
                    *(float(notified_at), received_at, received_at, received_at),
                ],
            )
            connection.execute("SELECT pg_notify(%s, %s)", (PREDICTED_CHANNEL, f"[{patient}]"))
