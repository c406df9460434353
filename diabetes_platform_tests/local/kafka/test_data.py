"""A broker's data directory: made once, kept, and never mixed up with another cluster's."""

import re
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.kafka.data import (
    cluster_id_in,
    cluster_problem,
    found_cluster,
    id_file_of,
    new_cluster_id,
    prepare,
)

OURS, ANOTHER = "0abdBI0XS8WetfU8SumRIg", "zzzzzzzzQ8WetfU8SumRIw"
DATA, ID_FILE = Path("/state/kafka"), Path("/state/kafka.cluster-id")
NEVER = ["false"]
"""Formatting with it fails."""


def holding(data_dir: Path, cluster: str) -> Path:
    """Make a data directory as a broker of `cluster` leaves it."""
    data_dir.mkdir()
    meta = f"#Tue Nov 24 12:34:41 UTC 2026\nnode.id=1\nversion=1\ncluster.id={cluster}\n"
    (data_dir / "meta.properties").write_text(meta)
    return data_dir


def test_a_broker_starts_on_its_own_data_and_on_none() -> None:
    assert cluster_problem(DATA, ID_FILE, OURS, OURS) is None
    assert cluster_problem(DATA, ID_FILE, OURS, None) is None
    assert cluster_problem(DATA, ID_FILE, None, None) is None


def test_data_of_another_cluster_are_named_with_both_clusters() -> None:
    assert cluster_problem(DATA, ID_FILE, OURS, ANOTHER) == (
        f"/state/kafka holds data of Kafka cluster {ANOTHER}, this platform's cluster is {OURS} "
        "(/state/kafka.cluster-id): put its own data back, or move /state/kafka away to start "
        "with empty topics"
    )


def test_data_without_a_word_of_whose_they_are_can_be_adopted() -> None:
    problem = cluster_problem(DATA, ID_FILE, None, ANOTHER)
    assert problem is not None
    assert f"run `echo {ANOTHER} > /state/kafka.cluster-id`" in problem


@pytest.mark.parametrize(
    ("meta", "cluster"),
    [
        (f"node.id=1\ncluster.id={OURS}\nversion=1\n", OURS),
        (f"cluster.id = {OURS}", OURS),
        ("cluster.id=\n", None),
        ("#cluster.id=x\nnode.id=1\n", None),
        ("", None),
    ],
)
def test_the_clusters_id_is_read_from_what_kafka_wrote(meta: str, cluster: str | None) -> None:
    assert cluster_id_in(meta) == cluster


def test_ids_are_as_kafka_writes_them() -> None:
    made = {new_cluster_id() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", each) for each in made)


def test_a_directory_that_is_missing_or_empty_is_new(tmp_path: Path) -> None:
    assert found_cluster(tmp_path / "missing") is None
    assert found_cluster(tmp_path) is None


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(PlatformError, match="not empty and not a Kafka data directory"):
        prepare(tmp_path, NEVER)


def test_another_clusters_data_are_refused_untouched(tmp_path: Path) -> None:
    data_dir = holding(tmp_path / "kafka", ANOTHER)
    id_file_of(data_dir).write_text(f"{OURS}\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(
        PlatformError, match=f"cluster {ANOTHER}, this platform's cluster is {OURS}"
    ):
        prepare(data_dir, NEVER)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_data_are_adopted_as_the_message_says(tmp_path: Path) -> None:
    data_dir = holding(tmp_path / "kafka", ANOTHER)
    with pytest.raises(PlatformError, match="is missing: if they are this platform's"):
        prepare(data_dir, NEVER)
    id_file_of(data_dir).write_text(f"{ANOTHER}\n")
    prepare(data_dir, NEVER)


def test_a_directory_that_cannot_be_formatted_stays_new(tmp_path: Path) -> None:
    why = ["sh", "-c", 'mkdir "$KAFKA_DATA"; echo "no space left" >&2; exit 1']
    with pytest.raises(PlatformError, match=r"could not create .*kafka: no space left"):
        prepare(tmp_path / "kafka", why)
    assert found_cluster(tmp_path / "kafka") is None
