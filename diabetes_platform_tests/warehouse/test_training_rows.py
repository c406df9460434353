"""Training rows come from the promoted version, labelled rows only, missing kept missing."""

from collections.abc import Callable

import pytest

from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.warehouse.promotion import promote
from diabetes_platform.warehouse.staging import StagedBatch
from diabetes_platform.warehouse.training_rows import read_training_rows

pytestmark = pytest.mark.integration
Stage = Callable[..., StagedBatch]


def test_before_a_promotion_there_is_no_row(warehouse: str, staged: Stage) -> None:
    staged(rows=3)
    assert read_training_rows(warehouse).num_rows == 0


def test_rows_of_the_promoted_version_in_the_columns_of_the_contract(
    warehouse: str, staged: Stage
) -> None:
    promote(warehouse, staged(rows=3, insulin=None))

    rows = read_training_rows(warehouse)

    assert tuple(rows.column_names) == TRAINING_SET.column_names
    assert rows.num_rows == 3
    assert rows["insulin"].null_count == 3


def test_a_row_without_an_outcome_is_no_training_row(warehouse: str, staged: Stage) -> None:
    promote(warehouse, staged(rows=3, outcome=None))
    assert read_training_rows(warehouse).num_rows == 0
