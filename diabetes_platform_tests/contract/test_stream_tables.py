"""Dead letters and windows as tables: known by their place, bytes where Delta keeps no bounds."""

import pytest

from diabetes_platform.contract.events import WINDOW_KEYS
from diabetes_platform.contract.stream_tables import STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.contract.tables import Table


@pytest.mark.parametrize("table", [STREAM_REJECTED, STREAM_WINDOWS], ids=lambda table: table.name)
def test_a_row_is_known_by_its_place_in_the_topic(table: Table) -> None:
    assert table.key == ("topic_id", "kafka_partition", "kafka_offset")
    assert {"day", "written_at"} <= set(table.column_names)


def test_what_holds_values_of_patients_stands_last() -> None:
    assert [column.type for column in STREAM_REJECTED.columns[-2:]] == ["bytes", "bytes"]
    assert "bytes" not in {column.type for column in STREAM_REJECTED.columns[:-2]}


def test_a_window_has_every_count_and_number_of_its_message() -> None:
    times = {WINDOW_KEYS.start, WINDOW_KEYS.end}
    assert set(WINDOW_KEYS.all) - times <= set(STREAM_WINDOWS.column_names)
