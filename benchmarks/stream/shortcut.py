"""The floor: no log, no broker, no Flink; a notification in the intake's own transaction.

Who listens asks the API's model, stores the prediction and notifies, as the predictor does.
"""

import json
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg

from diabetes_platform.contract.events import PREDICTED_CHANNEL
from diabetes_platform.contract.fields import FEATURE_NAMES

CHANNEL = "bench_intake"
_SELECT = f"SELECT {', '.join(FEATURE_NAMES)} FROM diabetes_new WHERE id = %s"  # noqa: S608 - the contract's names
_STORE = """
INSERT INTO serving.predictions (intake_id, source_lsn, model_version, probability, result,
    contributions, changed_at, captured_at, judged_at, consumed_at, scored_at)
VALUES (%s, 0, %s, %s, %s, %s::jsonb, to_timestamp(%s), to_timestamp(%s), to_timestamp(%s),
    to_timestamp(%s), clock_timestamp())
"""


async def tell(connection: psycopg.AsyncConnection[Any], patient: int) -> None:
    """Notify the listener of a patient that this transaction stores."""
    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{patient} {time.time():.6f}"))


class Shortcut:
    """A thread that listens and answers until the block ends."""

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
                    self._answer(connection, client, *notification.payload.split())

    def _answer(
        self, connection: psycopg.Connection[Any], client: httpx.Client, patient: str, told: str
    ) -> None:
        at = time.time()
        values = connection.execute(_SELECT, [int(patient)]).fetchone()
        assert values is not None  # noqa: S101 - told in the transaction that stored it
        patient_row = dict(zip(FEATURE_NAMES, values, strict=True))
        answer = client.post("/predict?contributions=true", json=patient_row).json()
        with connection.transaction():
            contributions = json.dumps(answer["contributions"])
            connection.execute(
                _STORE,
                [
                    int(patient),
                    *(answer[name] for name in ("model_version", "probability", "result")),
                    contributions,
                    *(float(told), at, at, at),
                ],
            )
            connection.execute("SELECT pg_notify(%s, %s)", (PREDICTED_CHANNEL, f"[{patient}]"))
