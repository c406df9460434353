"""Promotion: one whole version at a time for every reader, an audit, and a way back."""

import threading
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest
from psycopg import IsolationLevel

from diabetes_platform.warehouse.promotion import PromotionError, promote, rollback
from diabetes_platform.warehouse.staging import StagedBatch, read_acceptances, record_validation

pytestmark = pytest.mark.integration
Stage = Callable[..., StagedBatch]


def versions_seen(url: str) -> list[tuple[str, int]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT batch_id, count(*) FROM serving.patients GROUP BY batch_id"
        ).fetchall()


def audit(url: str) -> list[tuple[str, int, int | None, str | None]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT action, version, previous_version, validation_run"
            " FROM serving.promotions ORDER BY promotion_id"
        ).fetchall()


def serving_verdict(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT verdict FROM serving.promotions").fetchone()
    assert row is not None
    return str(row[0])


def test_the_serving_table_is_empty_before_the_first_promotion(warehouse: str) -> None:
    assert versions_seen(warehouse) == []


def test_a_validated_batch_becomes_the_serving_table_and_leaves_an_audit_row(
    warehouse: str, staged: Stage
) -> None:
    batch = staged(rows=5, batch_id="b" * 12)

    promotion = promote(warehouse, batch)

    assert promotion.changed
    assert promotion.rows == 5
    assert versions_seen(warehouse) == [("b" * 12, 5)]
    assert audit(warehouse) == [("promote", batch.version, None, f"run-{batch.version}")]


def test_the_audit_names_accepted_failures_with_person_and_reason(
    warehouse: str, staged: Stage
) -> None:
    batch = staged(failed=None)
    accepted = {"row_count_not_collapsed": "ada: a clinic closed"}
    record_validation(warehouse, batch, run_name="run-a", failed=(), accepted=accepted)

    promotion = promote(warehouse, batch)

    assert promotion.verdict == "row_count_not_collapsed accepted by ada: a clinic closed"
    assert serving_verdict(warehouse) == promotion.verdict


def test_later_loads_of_a_source_have_its_acceptances(warehouse: str, staged: Stage) -> None:
    first = staged(failed=None, source_version="clinic")
    accepted = {"outcome_mean_plausible": "ada: first", "row_count_not_collapsed": "ada: second"}
    failed = ("has_rows",)
    record_validation(warehouse, first, run_name="1", failed=failed, accepted=accepted)
    later = staged(batch_id="b" * 12, failed=None, source_version="clinic")
    newer = {"outcome_mean_plausible": "eve: third"}
    record_validation(warehouse, later, run_name="2", failed=(), accepted=newer)

    assert read_acceptances(warehouse, "clinic") == accepted | newer
    assert read_acceptances(warehouse, "another") == {}
    staged(failed=None)
    assert read_acceptances(warehouse, None) == {}


def test_an_accepted_failure_does_not_excuse_another_one(warehouse: str, staged: Stage) -> None:
    batch = staged(failed=None)
    accepted = {"row_count_not_collapsed": "ada: a clinic closed"}
    record_validation(warehouse, batch, run_name="run-a", failed=("has_rows",), accepted=accepted)
    with pytest.raises(PromotionError, match="failed has_rows"):
        promote(warehouse, batch)


def test_staging_still_shows_the_batch_after_its_promotion(warehouse: str, staged: Stage) -> None:
    promote(warehouse, staged(rows=4))

    with psycopg.connect(warehouse) as connection:
        row = connection.execute("SELECT count(*) FROM staging.patients").fetchone()
    assert row == (4,)


@pytest.mark.parametrize(
    ("failed", "message"),
    [
        (None, "has not been validated"),
        (("no_missing_age", "glucose_in_range"), "failed no_missing_age, glucose_in_range"),
    ],
)
def test_a_batch_without_a_passing_validation_changes_nothing(
    warehouse: str, staged: Stage, failed: tuple[str, ...] | None, message: str
) -> None:
    promote(warehouse, staged(batch_id="a" * 12))

    with pytest.raises(PromotionError, match=message):
        promote(warehouse, staged(batch_id="b" * 12, failed=failed))

    assert versions_seen(warehouse) == [("a" * 12, 3)]
    assert len(audit(warehouse)) == 1


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"bmi": 700.0}, "bmi_allowed"),
        ({"glucose": float("nan")}, "glucose_allowed"),
        ({"outcome": 2}, "outcome_allowed"),
        ({"age": None}, "age"),
    ],
)
def test_rejects_rows_that_break_the_contract_despite_a_passing_validation(
    warehouse: str, staged: Stage, values: dict[str, object], rule: str
) -> None:
    promote(warehouse, staged(batch_id="a" * 12))

    with pytest.raises(PromotionError, match=f"breaks {rule}"):
        promote(warehouse, staged(batch_id="b" * 12, **values))

    assert versions_seen(warehouse) == [("a" * 12, 3)]


def test_promoting_the_same_batch_again_changes_nothing(warehouse: str, staged: Stage) -> None:
    batch = staged()
    promote(warehouse, batch)

    assert not promote(warehouse, batch).changed
    assert len(audit(warehouse)) == 1


def test_rollback_restores_the_previous_version_and_is_audited(
    warehouse: str, staged: Stage
) -> None:
    with pytest.raises(PromotionError, match="no earlier version"):
        rollback(warehouse)
    second = staged(batch_id="b" * 12)
    promote(warehouse, second)
    third = staged(batch_id="c" * 12)
    promote(warehouse, third)

    back = rollback(warehouse)

    assert (back.version, back.previous_version) == (second.version, third.version)
    assert versions_seen(warehouse) == [("b" * 12, 3)]
    assert [row[0] for row in audit(warehouse)] == ["promote", "promote", "rollback"]


def test_a_version_that_was_rolled_back_does_not_return_by_itself(
    warehouse: str, staged: Stage
) -> None:
    promote(warehouse, staged(batch_id="a" * 12))
    bad = staged(batch_id="b" * 12)
    promote(warehouse, bad)
    rollback(warehouse)

    assert not promote(warehouse, bad).changed
    assert versions_seen(warehouse) == [("a" * 12, 3)]

    promote(warehouse, staged(batch_id="c" * 12))
    rollback(warehouse)
    assert versions_seen(warehouse) == [("a" * 12, 3)]


class Reader(threading.Thread):
    """Reads the serving table in a loop, two statements a transaction, and counts what it sees."""

    def __init__(self, url: str, isolation: IsolationLevel, stop: threading.Event) -> None:
        super().__init__()
        self._url, self._isolation, self._stop_event = url, isolation, stop
        self.views: Counter[tuple[tuple[str, int], ...]] = Counter()
        self.torn = 0

    def run(self) -> None:
        query = "SELECT batch_id, count(*) FROM serving.patients GROUP BY batch_id"
        with psycopg.connect(self._url) as connection:
            connection.isolation_level = self._isolation
            while not self._stop_event.is_set():
                with connection.transaction():
                    first = tuple(connection.execute(query).fetchall())
                    second = tuple(connection.execute(query).fetchall())
                self.views[first] += 1
                self.torn += self._isolation is IsolationLevel.REPEATABLE_READ and first != second


def test_concurrent_readers_always_see_exactly_one_complete_version(
    warehouse: str, staged: Stage
) -> None:
    """Batch n holds n + 1 patients, so that a view tells which version it is and whether whole."""
    expected = {(f"{n:012d}", n + 1) for n in range(21)}
    promote(warehouse, staged(rows=1, batch_id=f"{0:012d}"))
    stop = threading.Event()
    levels = [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ] * 2
    readers = [Reader(warehouse, level, stop) for level in levels]
    for reader in readers:
        reader.start()

    for n in range(1, 21):
        promote(warehouse, staged(rows=n + 1, batch_id=f"{n:012d}"))
    stop.set()
    for reader in readers:
        reader.join()

    for reader in readers:
        assert all(len(view) == 1 and view[0] in expected for view in reader.views)
        assert reader.torn == 0
        assert len(reader.views) > 1, "the readers must have met more than one version"


def test_a_transaction_that_began_before_the_promotions_still_reads_its_own_version(
    warehouse: str, staged: Stage
) -> None:
    promote(warehouse, staged(rows=2, batch_id="a" * 12))
    with psycopg.connect(warehouse) as old:
        old.isolation_level = IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1")
        for n in range(5):
            promote(warehouse, staged(batch_id=f"{n:012d}"))
        counts = old.execute(
            "SELECT batch_id, count(*) FROM serving.patients GROUP BY 1"
        ).fetchall()
    assert counts == [("a" * 12, 2)]


def test_retains_only_versions_that_a_rollback_can_reach(warehouse: str, staged: Stage) -> None:
    versions = []
    for n in range(6):
        batch = staged(batch_id=f"{n:012d}")
        promote(warehouse, batch)
        versions.append(batch.version)

    with psycopg.connect(warehouse) as connection:
        kept = connection.execute(
            "SELECT DISTINCT version FROM serving.patient_versions ORDER BY version"
        ).fetchall()
    assert [version for (version,) in kept] == versions[-3:]


def test_rejects_a_batch_that_another_load_replaced(warehouse: str, staged: Stage) -> None:
    replaced = staged(batch_id="a" * 12)
    staged(batch_id="b" * 12)

    with pytest.raises(PromotionError, match="no longer in staging"):
        promote(warehouse, replaced)
