"""Sample rows of `stream/patients`: changes of intake rows as the ingest stores them."""

from datetime import UTC, datetime, timedelta

from diabetes_platform.contract.fields import OUTCOME
from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform_tests.lake.appending import append_rows
from diabetes_platform_tests.samples import EXAMPLE

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = BEGIN.date().isoformat()
Row = dict[str, object]


def changed(intake: int, lsn: int, /, **image: object) -> Row:
    """Return a change of the contract's example values and `image`, written at second `lsn`."""
    recorded = BEGIN + timedelta(seconds=lsn) if image.get(OUTCOME.name) is not None else None
    return {
        **_source_columns(intake, str(lsn), lsn),
        "op": "u",
        "lsn": lsn,
        "received_at": BEGIN,
        **EXAMPLE,
        "outcome_recorded_at": recorded,
        **image,
    }


def deleted(intake: int, offset: int, /) -> Row:
    """Return the deletion of a patient at an offset of the topic's only partition."""
    return {**_source_columns(intake, f"deleted-t-0-{offset}", offset), "op": "d"}


def stream(lake: Lake, *rows: Row) -> int:
    """Add the changes to `stream/patients` of `lake`; return the table's version."""
    append_rows(lake, STREAM_PATIENTS, rows)
    return lake.table(STREAM_PATIENTS).version()


def _source_columns(intake: int, change: str, offset: int) -> Row:
    return {
        "change_id": f"{intake}-{change}",
        "day": DAY,
        "id": intake,
        "topic_id": "t",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "written_at": BEGIN + timedelta(seconds=offset),
    }
