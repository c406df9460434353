"""The latency stages: adjacent, and bounded by timestamps of a stored prediction."""

import pytest

from diabetes_platform.contract.latency import (
    DATABASE,
    FETCH,
    LIVE_STAGES,
    MERGE,
    STORED_STAGES,
    TOTAL,
    LatencyStage,
)
from diabetes_platform.contract.tables import PREDICTIONS


@pytest.mark.parametrize("stages", [STORED_STAGES, LIVE_STAGES])
def test_a_stage_starts_where_its_predecessor_ends(stages: tuple[LatencyStage, ...]) -> None:
    assert [stage.start for stage in stages] == [TOTAL.start, *(stage.end for stage in stages[:-1])]
    assert stages[-1].end == TOTAL.end
    assert DATABASE.end == TOTAL.start


def test_timestamps_of_stored_stages_are_columns_of_predictions() -> None:
    columns = {column for stage in STORED_STAGES for column in (stage.start, stage.end)}
    assert columns <= set(PREDICTIONS.column_names)
    assert {stage.end for stage in LIVE_STAGES} - columns == {MERGE.end} == {FETCH.start}
