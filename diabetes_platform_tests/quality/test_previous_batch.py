"""Size and histograms of the promoted version, read without its rows."""

from pathlib import Path

import psycopg
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES, FIELDS_BY_NAME
from diabetes_platform.quality.expectations import Partition, PreviousBatch
from diabetes_platform.quality.previous_batch import (
    bin_edges,
    count_values,
    partition,
    read_previous,
    read_reference,
    with_reference,
    write_reference,
)
from diabetes_platform_tests.quality.staged_batches import create_table, load, pima_patients

AGE = FIELDS_BY_NAME["age"]


@pytest.mark.parametrize(
    ("deciles", "edges"),
    [
        ([22, 29, 51], (18, 22, 29, 51, 120)),
        ([22, 22, 29], (18, 22, 29, 120)),
        ([18, 22, 120], (18, 22, 120)),
        ([], (18, 120)),
        (None, (18, 120)),
    ],
)
def test_edges_increase_from_minimum_to_maximum(
    deciles: list[float] | None, edges: tuple[float, ...]
) -> None:
    assert bin_edges(AGE, deciles) == edges


def test_weights_are_positive_shares() -> None:
    histogram = partition((18, 40, 60, 120), {1: 7, 2: 1})
    assert histogram is not None
    assert histogram.weights == pytest.approx((7.5 / 9.5, 1.5 / 9.5, 0.5 / 9.5))


def test_a_value_at_the_last_edge_belongs_to_the_last_bin() -> None:
    histogram = partition((18, 40, 120), {1: 1, 2: 1, 3: 2})
    assert histogram is not None
    assert histogram.weights == pytest.approx((1.5 / 5, 3.5 / 5))


def test_without_values_there_is_no_histogram() -> None:
    assert partition((18, 120), {}) is None


@pytest.mark.integration
def test_returns_none_before_the_first_promotion(database_url: str) -> None:
    assert read_previous(database_url) is None


@pytest.mark.integration
def test_returns_none_for_an_empty_promoted_table(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        create_table(connection, "serving", "patients")
    assert read_previous(database_url) is None


@pytest.mark.integration
def test_reads_row_count_and_histograms(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        create_table(connection, "serving", "patients")
        load(connection, "serving", "patients", pima_patients())
    previous = read_previous(database_url)
    assert previous is not None
    assert previous.row_count == 768
    assert set(previous.partitions) == set(FEATURE_NAMES)
    for histogram in previous.partitions.values():
        assert len(histogram.bins) == len(histogram.weights) + 1
        assert sum(histogram.weights) == pytest.approx(1)
    # Deciles: each tenth of the values of a feature with many distinct ones.
    assert previous.partitions["diabetes_pedigree_function"].weights == pytest.approx(
        [0.1] * 10, abs=0.01
    )


@pytest.mark.integration
def test_the_reference_has_the_statistics_of_the_pima_data(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        create_table(connection, "serving", "patients")
        load(connection, "serving", "patients", pima_patients())
    previous, reference = read_previous(database_url), read_reference()
    assert previous is not None
    assert reference.is_reference
    assert reference.row_count == previous.row_count
    assert reference.outcome_share == pytest.approx(previous.outcome_share)
    assert reference.outcome_count == previous.outcome_count
    assert reference.partitions.keys() == previous.partitions.keys()
    for name, histogram in reference.partitions.items():
        assert histogram.bins == pytest.approx(previous.partitions[name].bins)
        assert histogram.weights == pytest.approx(previous.partitions[name].weights)
        assert histogram.count == previous.partitions[name].count


def test_a_written_reference_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    write_reference(read_reference(), path)
    assert read_reference(path) == read_reference()
    path.write_text("[]")
    with pytest.raises(ValueError, match="no reference statistics"):
        read_reference(path)


@pytest.mark.integration
def test_the_share_of_the_outcome_is_that_of_the_source(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        create_table(connection, "serving", "patients")
        load(connection, "serving", "patients", pima_patients())
        connection.execute(
            "UPDATE serving.patients SET source = 'stream/patients' WHERE outcome = 1"
        )
    previous = read_previous(database_url)
    assert previous is not None
    assert (previous.outcome_share, previous.outcome_count) == (0, 500)


@pytest.mark.integration
def test_counts_the_values_that_the_statistics_describe(warehouse: str) -> None:
    from_stream = "UPDATE staging.patients SET source = 'stream/patients' WHERE record_id LIKE %s"
    with psycopg.connect(warehouse) as connection:
        connection.execute(from_stream, ("%-1__",))
        connection.execute("CREATE SCHEMA serving")
        connection.execute("CREATE TABLE serving.patients AS SELECT * FROM staging.patients")
    counts, previous = count_values(warehouse, "staging.patients"), read_previous(warehouse)
    assert previous is not None
    assert (counts["insulin"], counts["age"], counts["outcome"]) == (394, 768, 668)
    assert counts == {
        **{name: histogram.count for name, histogram in previous.partitions.items()},
        "outcome": previous.outcome_count,
    }
    assert count_values(warehouse, "staging.absent") == {}


def test_the_reference_replaces_what_the_promoted_version_lacks() -> None:
    reference = read_reference()
    glucose = Partition((40, 120, 600), (0.5, 0.5), 90)
    previous = PreviousBatch(100, {"glucose": glucose}, 0.4, 95)
    combined = with_reference(previous, reference)
    assert (combined.row_count, combined.is_reference) == (100, False)
    assert (combined.outcome_share, combined.outcome_count) == (0.4, 95)
    assert combined.partitions == {**reference.partitions, "glucose": glucose}

    scoring = with_reference(PreviousBatch(100, {"glucose": glucose}), reference)
    assert scoring.outcome_share == reference.outcome_share
    assert scoring.outcome_count == reference.outcome_count == 768
    assert with_reference(None, reference) is reference


@pytest.mark.integration
def test_a_feature_without_values_has_no_histogram(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        create_table(connection, "serving", "patients")
        load(connection, "serving", "patients", pima_patients())
        connection.execute("UPDATE serving.patients SET insulin = NULL")
    previous = read_previous(database_url)
    assert previous is not None
    assert "insulin" not in previous.partitions
