"""The tables of dead letters and windows: their keys, and the order of their columns."""

import pytest

from diabetes_platform.contract.events import WINDOW_KEYS
from diabetes_platform.contract.stream_tables import STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.contract.tables import Table


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
