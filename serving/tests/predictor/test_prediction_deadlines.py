"""The predictor's use of a database that does not respond."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from serving.app.served_model import ServedModel
from serving.predictor.prediction_table import DEADLINE_SECONDS, PredictionStore
from serving.predictor.scoring import score_changes
from serving.tests.clients import wait_until
from serving.tests.predictor.sample_messages import change
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "use",
    [PredictionStore.check, lambda store: store.write([], [1])],
    ids=["check", "write"],
)
@pytest.mark.parametrize("connected", [True, False])
def test_a_stopped_server_is_an_error_before_the_deadline(
    warehouse: Warehouse, use: Callable[[PredictionStore], object], *, connected: bool
) -> None:
    store = PredictionStore(warehouse.predictor)
    if connected:
        store.check()
    with warehouse.frozen():
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            use(store)
        assert time.monotonic() - started < DEADLINE_SECONDS + 2
    use(store)
    store.close()


def test_a_server_that_stops_during_a_write_stores_each_row_once(
    warehouse: Warehouse, released: ServedModel
) -> None:
    patient_id = 8_000_000
    changes = [change(patient_id, lsn, glucose=100 + lsn) for lsn in (1, 2)]
    rows, _ = score_changes(changes, released, consumed_ms=1.0, clock=lambda: 2.0)
    store = PredictionStore(warehouse.predictor)
    waiting = (
        "SELECT FROM pg_stat_activity WHERE usename = 'predictor' AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as executor, psycopg.connect(warehouse.superuser) as blocking:
        blocking.execute("LOCK TABLE serving.predictions IN SHARE MODE")
        writing = executor.submit(store.write, rows, [])
        wait_until(lambda: bool(warehouse.rows(waiting)))
        with warehouse.frozen(), pytest.raises(psycopg.OperationalError):
            writing.result(DEADLINE_SECONDS + 2)
    wait_until(lambda: not warehouse.rows(waiting))
    assert store.write(rows, []) == len(rows)
    stored = "SELECT source_lsn FROM serving.predictions WHERE intake_id = %s ORDER BY 1"
    assert warehouse.rows(stored, patient_id) == [(1,), (2,)]
    store.close()


def test_an_open_connection_survives_its_deadline(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.predictor.prediction_table.DEADLINE_SECONDS", 0.5)
    store = PredictionStore(warehouse.predictor)
    store.check()
    pid = warehouse.rows("SELECT pid FROM pg_stat_activity WHERE usename = 'predictor'")
    time.sleep(0.6)
    store.check()
    assert warehouse.rows("SELECT pid FROM pg_stat_activity WHERE usename = 'predictor'") == pid
    store.close()
