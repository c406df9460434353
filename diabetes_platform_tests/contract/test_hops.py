"""The hops lie end to end between stamps that a stored prediction has."""

import pytest

from diabetes_platform.contract.hops import DATABASE, FETCH, MEASURED, MERGE, STORED, TOTAL, Hop
from diabetes_platform.contract.tables import PREDICTIONS


@pytest.mark.parametrize("hops", [STORED, MEASURED])
def test_each_hop_begins_where_the_one_before_ends(hops: tuple[Hop, ...]) -> None:
    assert [hop.start for hop in hops] == [TOTAL.start, *(hop.end for hop in hops[:-1])]
    assert hops[-1].end == TOTAL.end
    assert DATABASE.end == TOTAL.start


def test_stamps_are_columns_of_predictions() -> None:
    stored = {stamp for hop in STORED for stamp in (hop.start, hop.end)}
    assert stored <= set(PREDICTIONS.column_names)
    assert {hop.end for hop in MEASURED} - stored == {MERGE.end} == {FETCH.start}
