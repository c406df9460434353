"""Staging: a batch is loaded whole or not at all, as a stream."""

from collections.abc import Callable, Iterator

import psycopg
import pyarrow as pa
import pytest

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform.warehouse.staging import (
    StagedBatch,
    StagingError,
    newest,
    stage,
)
from diabetes_platform_tests.staged_patients import staged_patient
from diabetes_platform_tests.warehouse.conftest import STAGING_SCHEMA, reader

pytestmark = pytest.mark.integration
Stage = Callable[..., StagedBatch]


def test_staging_is_empty_before_the_first_batch(warehouse: str) -> None:
    assert newest(warehouse) is None


def test_rows_arrive_with_their_values_and_nulls(warehouse: str) -> None:
    patient = staged_patient("a" * 12, 2) | {"insulin": None, "outcome": None}

    batch = stage(warehouse, reader([patient]), batch_id="a" * 12, delta_version=3, expected_rows=1)

    assert (batch.version, batch.batch_id, batch.delta_version, batch.rows) == (1, "a" * 12, 3, 1)
    assert newest(warehouse) == batch
    with psycopg.connect(warehouse) as connection:
        row = connection.execute(
            "SELECT record_id, glucose, insulin, insulin_filled, outcome FROM staging.patients"
        ).fetchone()
    assert row == (f"{'a' * 12}-2", 148.0, None, 125.0, None)


def test_a_batch_replaces_the_previous_one(warehouse: str, staged: Stage) -> None:
    first, second = staged(rows=5, batch_id="a" * 12), staged(rows=2, batch_id="b" * 12)

    assert newest(warehouse) == second
    assert second.version == first.version + 1


@pytest.mark.parametrize(
    ("batch_id", "expected_rows", "message"),
    [("a" * 12, 3, "2 rows arrived; allowed: 3"), ("b" * 12, 2, "2 rows are of another batch")],
)
def test_a_stream_of_another_size_or_batch_keeps_the_previous_batch(
    warehouse: str, staged: Stage, batch_id: str, expected_rows: int, message: str
) -> None:
    previous = staged(rows=5)
    rows = reader([staged_patient("a" * 12, line) for line in (2, 3)])

    with pytest.raises(StagingError, match=message):
        stage(warehouse, rows, batch_id=batch_id, delta_version=1, expected_rows=expected_rows)
    assert newest(warehouse) == previous


def test_a_stream_that_breaks_keeps_the_previous_batch(warehouse: str, staged: Stage) -> None:
    previous = staged(rows=2, batch_id="a" * 12)

    def breaking() -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_pylist([staged_patient("b" * 12, 2)], schema=STAGING_SCHEMA)
        yield from table.to_batches()
        raise OSError("the lake went away")

    broken = pa.RecordBatchReader.from_batches(STAGING_SCHEMA, breaking())
    with pytest.raises(StagingError, match="batch bbbbbbbbbbbb: not staged"):
        stage(warehouse, broken, batch_id="b" * 12, delta_version=8, expected_rows=1)

    assert newest(warehouse) == previous
    with psycopg.connect(warehouse) as connection:
        assert connection.execute("SELECT count(*) FROM staging.patients").fetchone() == (2,)


def test_a_server_stopped_in_the_middle_of_the_copy_keeps_the_previous_batch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Postgres(tmp_path_factory.mktemp("stopped") / "data", free_port(), "secret")
    with server:
        url = server.create_database("diabetes")
        upgrade(url)
        previous = stage(
            url,
            reader([staged_patient("a" * 12, 2)]),
            batch_id="a" * 12,
            delta_version=1,
            expected_rows=1,
        )

        def stopping() -> Iterator[pa.RecordBatch]:
            patients = [staged_patient("b" * 12, line) for line in range(2, 5000)]
            yield from pa.Table.from_pylist(patients, schema=STAGING_SCHEMA).to_batches()
            server.stop()
            yield from pa.Table.from_pylist(patients, schema=STAGING_SCHEMA).to_batches()

        stream = pa.RecordBatchReader.from_batches(STAGING_SCHEMA, stopping())
        with pytest.raises(StagingError, match="batch bbbbbbbbbbbb: not staged"):
            stage(url, stream, batch_id="b" * 12, delta_version=2, expected_rows=1)

        server.start()
        assert newest(url) == previous
