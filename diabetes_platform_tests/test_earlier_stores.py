"""The current code on the lake, the models and the warehouse of commit b11005b."""

from pathlib import Path

import psycopg
import pytest

from diabetes_platform.contract.bundle import open_bundle
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    RAW_PATIENTS,
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    TRAINING_SET,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.lake.raw import ingest
from diabetes_platform.modelling.classifier import predict_proba
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.modelling.training_set import training_set_from_arrow
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform.warehouse.promotion import promote, serving_state
from diabetes_platform.warehouse.staging import newest
from diabetes_platform.warehouse.training_rows import read_training_rows
from diabetes_platform_tests.earlier_stores import restore_warehouse, unpack_stores

PIMA_ROWS, PROMOTED_ROWS = 768, 766


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Lake, ModelStore]:
    lake, models = unpack_stores(tmp_path)
    return Lake(str(lake)), ModelStore(str(models))


def test_reads_every_table_of_an_earlier_lake(stores: tuple[Lake, ModelStore]) -> None:
    lake, _ = stores
    rows = {
        table.name: lake.count(table, {})
        for table in (
            RAW_PATIENTS,
            CLEANED_PATIENTS,
            TRAINING_SET,
            STREAM_PATIENTS,
            STREAM_REJECTED,
            STREAM_WINDOWS,
            LABELLED_PATIENTS,
        )
    }
    assert rows == {
        "raw/patients": PIMA_ROWS,
        "cleaned/patients": PIMA_ROWS,
        "features/training_set": PROMOTED_ROWS,
        "stream/patients": 13,
        "stream/rejected": 1,
        "stream/windows": 1,
        "labels/patients": 4,
    }


def test_continues_an_earlier_lake(stores: tuple[Lake, ModelStore]) -> None:
    lake, _ = stores
    assert not ingest(lake, str(PIMA_CSV)).added
    table = IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
    topic = "diabetes_out.public.sink_diabetes"
    assert table.committed_offsets(topic, "fixture", [0]) == {0: 12}
    has_later_field = not all(field.original for field in FIELDS)
    assert update_labels(lake).added is has_later_field


def test_scores_an_earlier_training_set_with_its_champion(
    stores: tuple[Lake, ModelStore],
) -> None:
    lake, models = stores
    stored = models.champion()
    assert stored is not None
    model = models.read(stored.champion)
    open_bundle(model.pointer, model.files)
    training_set = training_set_from_arrow(lake.table(TRAINING_SET).open().to_pyarrow_table())
    probabilities = predict_proba(model, training_set.features)
    assert training_set.features.shape == (PROMOTED_ROWS, len(FEATURE_NAMES))
    assert ((probabilities > 0) & (probabilities < 1)).all()


@pytest.mark.integration
def test_upgrades_and_continues_an_earlier_warehouse(database_url: str) -> None:
    restore_warehouse(database_url)
    upgrade(database_url)
    assert read_training_rows(database_url).num_rows == PROMOTED_ROWS
    batch = newest(database_url)
    assert batch is not None
    assert not promote(database_url, batch).changed
    with psycopg.connect(database_url) as connection:
        assert serving_state(connection).version == batch.version
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM public.diabetes_new),"
            " (SELECT count(*) FROM serving.predictions)"
        ).fetchone()
    assert counts == (12, 5)
