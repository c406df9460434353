"""The tables, which are rendered from the fields."""

import hashlib

import pytest

from diabetes_platform.contract.change_events import IMAGE_KEYS, REQUIRED_IMAGE_KEYS, SINK_KEYS
from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES, FIELDS_BY_NAME
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    DIABETES_NEW,
    LABELLED_PATIENTS,
    PREDICTIONS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STAGING_PATIENTS,
    STATISTICS_PATIENTS,
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    TRAINING_SET,
    Table,
    batch_content_hash,
    batch_id_of,
    filled_name,
    intake_id_of,
    normed_name,
)
from diabetes_platform.contract.topics import OPERATIONS, WINDOW_KEYS

TABLES = [
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    STAGING_PATIENTS,
    TRAINING_SET,
    DIABETES_NEW,
    PREDICTIONS,
    STREAM_PATIENTS,
    LABELLED_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
]
WITHOUT_PATIENTS = (STATISTICS_PATIENTS, PREDICTIONS, STREAM_REJECTED, STREAM_WINDOWS)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_columns_are_unique_described_and_hold_the_key(table: Table) -> None:
    assert len(set(table.column_names)) == len(table.columns)
    assert set(table.key) <= set(table.column_names)
    assert all(column.description for column in table.columns)


@pytest.mark.parametrize(
    "table", [table for table in TABLES if table not in WITHOUT_PATIENTS], ids=lambda t: t.name
)
def test_every_patient_table_has_every_field(table: Table) -> None:
    assert set(FIELD_NAMES) <= set(table.column_names)


def test_only_what_may_be_missing_has_a_filled_column_and_all_are_normed() -> None:
    for name in FEATURE_NAMES:
        field = FIELDS_BY_NAME[name]
        assert (filled_name(field) in STAGING_PATIENTS.column_names) is not field.required
        assert normed_name(field) in STAGING_PATIENTS.column_names


def test_a_training_row_has_an_outcome_and_no_column_fitted_on_the_batch() -> None:
    outcome = next(column for column in TRAINING_SET.columns if column.name == "outcome")
    assert not outcome.nullable
    assert not [name for name in TRAINING_SET.column_names if name.endswith(("_filled", "_normed"))]


def test_the_change_event_carries_the_intake_row() -> None:
    assert set(REQUIRED_IMAGE_KEYS) <= set(IMAGE_KEYS) == set(DIABETES_NEW.column_names)
    assert set(OPERATIONS) == {"c", "u", "d", "r"}


def test_no_table_on_the_path_of_a_label_has_a_column_of_predictions() -> None:
    predicted = {"probability", "result", "contributions", "model_version", "scored_at"}
    assert predicted <= set(PREDICTIONS.column_names)
    path_of_a_label = (
        DIABETES_NEW,
        STREAM_PATIENTS,
        LABELLED_PATIENTS,
        CLEANED_PATIENTS,
        TRAINING_SET,
    )
    assert not predicted & {
        *SINK_KEYS,
        *(name for table in path_of_a_label for name in table.column_names),
    }


HASH = hashlib.sha256(b"a batch").hexdigest()


def test_a_batch_is_named_by_its_content() -> None:
    assert batch_id_of(HASH) == HASH[:12]


@pytest.mark.parametrize("text", ["", HASH[:63], HASH.upper(), "x" * 64])
def test_rejects_what_is_no_content_hash(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: 64 hex digits"):
        batch_id_of(text)


def test_a_batch_with_labels_has_another_name_and_one_without_its_sources() -> None:
    labels = hashlib.sha256(b"labels").hexdigest()
    assert batch_content_hash(HASH, None) == HASH
    both = {batch_content_hash(HASH, labels), batch_content_hash(labels, HASH)}
    assert len(both) == 2
    assert not both & {HASH, labels}
    with pytest.raises(ValueError, match="allowed: 64 hex digits"):
        batch_content_hash(HASH, "")


@pytest.mark.parametrize(
    ("record_id", "intake"),
    [
        (f"{HASH[:12]}-intake-7", 7),
        (f"{HASH[:12]}-7", None),
        (f"{HASH[:12]}-intake-", None),
        (f"{HASH[:12]}-intake--7", None),
        ("intake-7", None),
        ("", None),
    ],
)
def test_a_record_says_which_intake_it_came_from(record_id: str, intake: int | None) -> None:
    assert intake_id_of(record_id) == intake


@pytest.mark.parametrize("table", [STREAM_REJECTED, STREAM_WINDOWS], ids=lambda table: table.name)
def test_the_key_is_topic_partition_and_offset(table: Table) -> None:
    assert table.key == ("topic_id", "kafka_partition", "kafka_offset")
    assert {"day", "written_at"} <= set(table.column_names)


def test_columns_with_values_of_patients_come_last() -> None:
    assert [column.type for column in STREAM_REJECTED.columns[-2:]] == ["bytes", "bytes"]
    assert "bytes" not in {column.type for column in STREAM_REJECTED.columns[:-2]}


def test_a_window_has_every_count_and_number_of_its_message() -> None:
    times = {WINDOW_KEYS.start, WINDOW_KEYS.end}
    assert set(WINDOW_KEYS.all) - times <= set(STREAM_WINDOWS.column_names)
