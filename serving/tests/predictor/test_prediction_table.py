"""The predictor's writes to a real table: each image once, whatever its position is."""

import json
from collections.abc import Iterator, Sequence
from itertools import count

import psycopg
import pytest

from diabetes_platform.contract.topics import PREDICTED_CHANNEL
from serving.app.served_model import ServedModel
from serving.predictor.prediction_table import PredictionStore
from serving.predictor.scoring import score_changes
from serving.tests.predictor.sample_messages import change
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

_PATIENTS = count(7_000_000)
Images = Sequence[tuple[int, float]]
"""Position and glucose of each change."""


@pytest.fixture
def predictions(warehouse: Warehouse) -> Iterator[PredictionStore]:
    opened = PredictionStore(warehouse.predictor)
    yield opened
    opened.close()


@pytest.fixture
def patient_id() -> int:
    return next(_PATIENTS)


def write(
    predictions: PredictionStore, model: ServedModel, patient_id: int, images: Images, *deleted: int
) -> int:
    """Store one batch; return the number of new rows."""
    changes = [change(patient_id, lsn, glucose=glucose) for lsn, glucose in images]
    rows, _ = score_changes(changes, model, consumed_ms=1.0, clock=lambda: 2.0)
    return predictions.write(rows, deleted)


def positions(warehouse: Warehouse, patient_id: int) -> list[int]:
    rows = warehouse.rows(
        "SELECT source_lsn FROM serving.predictions WHERE intake_id = %s ORDER BY 1", patient_id
    )
    return [lsn for (lsn,) in rows]


@pytest.mark.parametrize(
    ("batches", "stored"),
    [
        pytest.param([[(10, 100)], [(50, 100)], [(2**44 + 1, 100)]], [10], id="later snapshots"),
        pytest.param([[(10, 100), (50, 100), (60, 100)]], [10], id="in one batch"),
        pytest.param([[(50, 100)], [(10, 100)]], [50], id="at an older position"),
        pytest.param(
            [[(10, 100)], [(20, 150), (30, 100)], [(40, 100)]], [10, 20, 30], id="changed back"
        ),
        pytest.param(
            [[(10, 100), (20, 150)], [(20, 150), (30, 150), (40, 100)]],
            [10, 20, 40],
            id="repeated, unchanged, changed",
        ),
        pytest.param([[(20, 150)], [(10, 100)]], [10, 20], id="an older change arrives late"),
    ],
)
def test_an_image_that_has_not_changed_adds_no_row(
    predictions: PredictionStore,
    warehouse: Warehouse,
    released: ServedModel,
    patient_id: int,
    batches: Sequence[Images],
    stored: list[int],
) -> None:
    added = [write(predictions, released, patient_id, batch) for batch in batches]
    assert positions(warehouse, patient_id) == stored
    assert sum(added) == len(stored)


def test_the_same_image_after_a_deletion_is_stored(
    predictions: PredictionStore, warehouse: Warehouse, released: ServedModel, patient_id: int
) -> None:
    write(predictions, released, patient_id, [(10, 100)])
    assert write(predictions, released, patient_id, [(20, 100)], patient_id) == 1
    assert positions(warehouse, patient_id) == [20]


def test_notifies_only_of_patients_with_new_rows(
    predictions: PredictionStore, warehouse: Warehouse, released: ServedModel, patient_id: int
) -> None:
    write(predictions, released, patient_id, [(10, 100)])
    with psycopg.connect(warehouse.api, autocommit=True) as listener:
        listener.execute(f"LISTEN {PREDICTED_CHANNEL}")
        write(predictions, released, patient_id, [(50, 100)])
        write(predictions, released, patient_id, [(60, 100)])
        write(predictions, released, next(_PATIENTS), [(70, 100)])
        write(predictions, released, patient_id, [(80, 120)])
        payloads = [n.payload for n in listener.notifies(timeout=5, stop_after=2)]
    assert [patient for payload in payloads for patient in json.loads(payload)][-1] == patient_id
    assert len(payloads) == 2
