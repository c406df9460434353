"""Batch ids that are safe in a predicate, and batches counted from the log."""

import hashlib
from pathlib import Path

import pytest

from diabetes_platform.cleaning.batch_tables import (
    CleaningError,
    checked_batch_id,
    require_batch,
)
from diabetes_platform_tests.cleaning.batches import write_batch
from diabetes_platform_tests.contract.cases import ORDINARY

HASH = hashlib.sha256(b"a batch").hexdigest()


@pytest.mark.parametrize("batch_id", ["", "' OR 1=1 --", HASH, HASH[:12] + "\n"])
def test_rejects_an_invalid_batch_id(batch_id: str) -> None:
    with pytest.raises(ValueError, match="allowed: 12 hex digits"):
        checked_batch_id(batch_id)


def test_names_a_batch_that_is_missing_in_raw(lake: Path) -> None:
    batch = write_batch(lake, [ORDINARY])
    assert require_batch(batch.raw, batch.content_hash) == 1
    with pytest.raises(CleaningError, match=f"{batch.raw.path}: no batch .* {HASH}"):
        require_batch(batch.raw, HASH)


def test_counts_a_batch_from_the_log(lake: Path) -> None:
    first, second = write_batch(lake, [ORDINARY] * 3), write_batch(lake, [ORDINARY] * 4)
    assert require_batch(first.raw, first.content_hash) == 3
    assert require_batch(second.raw, second.content_hash) == 4
