"""The predictor's use of a database that does not respond."""

import time
from collections.abc import Callable

import psycopg
import pytest

from serving.predictor.prediction_table import DEADLINE_SECONDS, PredictionStore
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
