"""Confirmed outcomes of the stream in the batch graph: from the intake's change to the model."""

from datetime import UTC, datetime

import dagster as dg
import psycopg
import pytest

from diabetes_platform.contract.tables import (
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    batch_content_hash,
    batch_id_of,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.modelling.training_set_snapshot import read_training_set_as_of
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.intakes import Row, changed, deleted, stream

pytestmark = pytest.mark.integration
STREAM = "stream/patients"
PREDICTION = """
INSERT INTO serving.predictions
VALUES (%s, %s, 'abc', 0.9, 'Diabetes', '{}', now(), now(), now(), now(), now(), now())
"""


def lake_of(platform: Platform) -> Lake:
    return Lake(platform.settings.lake)


def passed(result: dg.ExecuteInProcessResult, check: str) -> bool:
    (evaluation,) = (
        evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == check
    )
    return evaluation.passed


def trained_on(platform: Platform) -> list[str]:
    """Return the record ids of the training set that come from the stream."""
    rows = read_training_set_as_of(lake_of(platform), datetime.now(UTC)).rows.to_pylist()
    return sorted(row["record_id"] for row in rows if row["source"] == STREAM)


def predict(platform: Platform, *changes: Row) -> None:
    """Store a prediction for each change, as the predictor does."""
    with psycopg.connect(platform.url) as connection:
        for change in changes:
            connection.execute(PREDICTION, (change["id"], change["lsn"]))


@pytest.mark.slow
def test_without_a_stream_the_batch_is_its_file(serving: Platform) -> None:
    labels = serving.metadata("labels/patients")
    assert (labels["dagster/row_count"], labels["delta_version"]) == (0, 0)
    raw = str(serving.metadata("raw/patients")["content_hash"])
    assert serving.served() == [(batch_id_of(raw), 766)]
    assert serving.metadata("features/training_set")["sources"] == {str(PIMA_CSV): 766}
    assert "labels_version" not in serving.metadata("cleaned/patients")


@pytest.mark.slow
def test_the_next_batch_learns_from_confirmed_outcomes_and_never_from_predictions(
    serving: Platform,
) -> None:
    lake, start = lake_of(serving), datetime.now(UTC)
    first = read_training_set_as_of(lake, start)
    confirmed, waiting = changed(7, 10), changed(8, 11, glucose=131.0)
    stream(lake, confirmed, waiting, changed(7, 12, outcome=1))
    # A model has called both ill; of intake 8 nobody has confirmed anything.
    predict(serving, confirmed, waiting)

    result = serving.run()

    assert passed(result, "nothing_vanished")
    assert passed(result, "single_source")
    raw = str(serving.metadata("raw/patients")["content_hash"])
    labels = serving.metadata("labels/patients")
    batch_id = batch_id_of(batch_content_hash(raw, str(labels["content_hash"])))
    assert serving.served() == [(batch_id, 767)]
    assert trained_on(serving) == [f"{batch_id}-intake-7"]
    metadata = serving.metadata("features/training_set")
    assert metadata["sources"] == {str(PIMA_CSV): 766, STREAM: 1}
    assert (metadata["raw_content_hash"], metadata["labels_version"]) == (
        raw,
        str(labels["delta_version"]),
    )
    assert serving.metadata("model/candidate")["training_rows"] == 767

    unchanged = read_training_set_as_of(lake, start)
    assert unchanged.content_hash == first.content_hash != metadata["content_hash"]
    assert unchanged.rows.equals(first.rows)
    assert STREAM not in unchanged.sources

    assert serving.run().success is result.success
    for key in ("labels/patients", "cleaned/patients", "staging/patients", "model/candidate"):
        assert serving.metadata(key)["processed"] is False, key


@pytest.mark.slow
def test_labels_of_one_class_that_are_rejected_or_come_twice_cost_no_other_row(
    serving: Platform,
) -> None:
    """And when their patients are deleted, the batch is its file again."""
    lake, file = lake_of(serving), serving.served()
    good = [changed(n, n, outcome=1, glucose=140.0 + n) for n in range(1, 21)]
    rejected = changed(30, 30, outcome=1, insulin=None, bmi=500.0)
    # The first patient of the file, as somebody has entered her on the page.
    twice = changed(31, 31, outcome=1, insulin=None)
    stream(lake, *good, rejected, twice)

    result = serving.run()

    assert passed(result, "nothing_vanished")
    assert passed(result, "both_outcomes_present")
    assert len(trained_on(serving)) == len(good)
    batch_id = str(serving.metadata("cleaned/patients")["batch_id"])
    kept = lake.stream(
        QUARANTINE_PATIENTS, ("record_id", "source", "reasons"), {"batch_id": batch_id}
    ).read_all()
    reasons = {
        row["record_id"]: row["reasons"] for row in kept.to_pylist() if row["source"] == STREAM
    }
    assert reasons == {
        f"{batch_id}-intake-30": ["bmi:above_maximum"],
        f"{batch_id}-intake-31": ["record:duplicate"],
    }

    stream(lake, *(deleted(n, 100 + n) for n in (*range(1, 21), 30, 31)))
    serving.run()

    assert serving.served() == file
    assert trained_on(serving) == []
    assert update_labels(lake).rows == 0
    assert lake.count(LABELLED_PATIENTS, {}, 1) == len(good) + 2


@pytest.mark.slow
def test_the_training_set_names_the_labels_of_the_served_batch(
    serving: Platform,
) -> None:
    lake = lake_of(serving)
    stream(lake, changed(7, 10, outcome=1))
    serving.run()
    version = serving.metadata("features/training_set")["labels_version"]
    stream(lake, changed(8, 11, outcome=0, glucose=99.0))
    serving.run_only("labels/patients", "statistics/patients", "cleaned/patients")
    assert serving.metadata("labels/patients")["dagster/row_count"] == 2

    serving.run_only("features/training_set")

    metadata = serving.metadata("features/training_set")
    assert metadata["labels_version"] == version
    assert metadata["sources"] == {str(PIMA_CSV): 766, STREAM: 1}
