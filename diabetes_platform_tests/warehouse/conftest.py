"""A migrated warehouse, and batches of made patients to stage in it."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from diabetes_platform.contract.tables import STAGING_PATIENTS
from diabetes_platform.lake.arrow import arrow_schema
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform.warehouse.staging import StagedBatch, record_validation, stage
from diabetes_platform_tests.staged_patients import staged_patient


@pytest.fixture
def warehouse(database_url: str) -> str:
    """The URL of a database with the newest schema and no patient."""
    upgrade(database_url)
    return database_url


Validate = Callable[..., StagedBatch]


@pytest.fixture
def staged(warehouse: str) -> Validate:
    """Stage `rows` made patients as one batch, by default validated without a failure."""

    def stage_and_validate(
        rows: int = 3,
        *,
        batch_id: str = "a" * 12,
        failed: tuple[str, ...] | None = (),
        source_version: str | None = None,
        **values: object,
    ) -> StagedBatch:
        patients = [staged_patient(batch_id, line) | values for line in range(2, rows + 2)]
        batch = stage(
            warehouse,
            reader(patients),
            batch_id=batch_id,
            delta_version=7,
            expected_rows=rows,
            source_version=source_version,
        )
        if failed is not None:
            record_validation(warehouse, batch, run_name=f"run-{batch.version}", failed=failed)
        return batch

    return stage_and_validate


def reader(patients: list[dict[str, object]]) -> pa.RecordBatchReader:
    table = pa.Table.from_pylist(patients, schema=STAGING_SCHEMA)
    return table.to_reader(max_chunksize=2)


STAGING_SCHEMA = pa.schema([field.with_nullable(True) for field in arrow_schema(STAGING_PATIENTS)])
