"""The rejected rows of a batch, copied from `cleaned/patients` to `quarantine/patients`.

They are few: they pass through this process a batch of rows at a time, without Spark.
"""

from dataclasses import dataclass

from deltalake import write_deltalake

from diabetes_platform.cleaning.conservation import REJECTED
from diabetes_platform.cleaning.tables import checked_batch_id, require_only, rows_of
from diabetes_platform.contract.fields import FIELDS
from diabetes_platform.contract.tables import QUARANTINE_PATIENTS
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform.lake.schema import arrow_schema

_STORED_AS = {field.name: f"{field.name}_received" for field in FIELDS}
"""Where a value as received stands in the cleaned table: its own name has the measurement."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What `quarantine_batch` wrote: `rows` rejected rows of the batch."""

    rows: int
    batch_id: str
    path: str
    delta_version: int


def quarantine_batch(
    cleaned: DeltaPath, batch_id: str, quarantine: DeltaPath, *, version: int | None = None
) -> Quarantined:
    """Put the batch's rejected rows into `quarantine/patients`, replacing the batch's earlier ones.

    They are those of `version` of the cleaned table, or of the newest. Raises LakeError where
    there is no such table, CleaningError where it holds another batch.
    """
    import pyarrow.dataset as ds

    version = require_only(cleaned, checked_batch_id(batch_id), version)
    schema = arrow_schema(QUARANTINE_PATIENTS)
    columns = {name: ds.field(_STORED_AS.get(name, name)) for name in schema.names}
    with cleaned.s3.errors(cleaned.path):
        scanner = (
            cleaned.open(version)
            .to_pyarrow_dataset()
            .scanner(columns=columns, filter=ds.field("verdict") == REJECTED)
        )
    quarantine.create(QUARANTINE_PATIENTS, partition_by="batch_id")
    with quarantine.s3.errors(quarantine.path):
        write_deltalake(
            quarantine.path,
            scanner.to_reader().cast(schema),
            mode="overwrite",
            predicate=f"batch_id = '{batch_id}'",
            storage_options=quarantine.storage_options,
        )
    rows, written = rows_of(quarantine, batch_id)
    return Quarantined(rows, batch_id, quarantine.path, written)
