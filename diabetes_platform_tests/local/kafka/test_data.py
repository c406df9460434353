"""Kafka's data directory: cluster ids, formatting, and rejection of other data."""

import re
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.kafka.data import (
    cluster_id_file,
    cluster_problem,
    new_cluster_id,
    parse_cluster_id,
    prepare,
    read_cluster_id,
)

OURS, OTHER = "0abdBI0XS8WetfU8SumRIg", "zzzzzzzzQ8WetfU8SumRIw"
DATA, ID_FILE = Path("/state/kafka"), Path("/state/kafka.cluster-id")
FAILING_FORMAT = ["false"]


def data_of(cluster: str, data_dir: Path) -> Path:
    """Create a data directory like that of a broker of `cluster`."""
    data_dir.mkdir()
    meta = f"#Tue Nov 24 12:34:41 UTC 2026\nnode.id=1\nversion=1\ncluster.id={cluster}\n"
    (data_dir / "meta.properties").write_text(meta)
    return data_dir


def test_accepts_its_own_data_and_a_new_directory() -> None:
    assert cluster_problem(DATA, ID_FILE, expected=OURS, actual=OURS) is None
    assert cluster_problem(DATA, ID_FILE, expected=OURS, actual=None) is None
    assert cluster_problem(DATA, ID_FILE, expected=None, actual=None) is None


def test_the_error_for_other_data_names_both_clusters() -> None:
    assert cluster_problem(DATA, ID_FILE, expected=OURS, actual=OTHER) == (
        f"/state/kafka holds data of Kafka cluster {OTHER}, this platform's cluster is {OURS} "
        "(/state/kafka.cluster-id): restore this platform's data, or move /state/kafka away to "
        "start with empty topics"
    )


def test_the_error_for_a_missing_id_file_has_the_command_that_writes_it() -> None:
    problem = cluster_problem(DATA, ID_FILE, expected=None, actual=OTHER)
    assert problem is not None
    assert f"run `echo {OTHER} > /state/kafka.cluster-id`" in problem


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
def test_parses_the_cluster_id_of_meta_properties(meta: str, cluster: str | None) -> None:
    assert parse_cluster_id(meta) == cluster


def test_new_ids_have_kafkas_format() -> None:
    ids = {new_cluster_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", cluster_id) for cluster_id in ids)


def test_a_missing_or_empty_directory_is_new(tmp_path: Path) -> None:
    assert read_cluster_id(tmp_path / "missing") is None
    assert read_cluster_id(tmp_path) is None


def test_rejects_a_directory_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(PlatformError, match="not empty and not a Kafka data directory"):
        prepare(tmp_path, FAILING_FORMAT)


def test_rejects_the_data_of_another_cluster_without_changing_them(tmp_path: Path) -> None:
    data_dir = data_of(OTHER, tmp_path / "kafka")
    cluster_id_file(data_dir).write_text(f"{OURS}\n")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(PlatformError, match=f"cluster {OTHER}, this platform's cluster is {OURS}"):
        prepare(data_dir, FAILING_FORMAT)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files


def test_accepts_existing_data_after_the_id_file_is_written(tmp_path: Path) -> None:
    data_dir = data_of(OTHER, tmp_path / "kafka")
    with pytest.raises(PlatformError, match="is missing: if the data are this platform's"):
        prepare(data_dir, FAILING_FORMAT)
    cluster_id_file(data_dir).write_text(f"{OTHER}\n")
    prepare(data_dir, FAILING_FORMAT)


def test_a_directory_stays_new_if_formatting_fails(tmp_path: Path) -> None:
    command = ["sh", "-c", 'mkdir "$KAFKA_DATA"; echo "no space left" >&2; exit 1']
    with pytest.raises(PlatformError, match=r"could not create .*kafka: no space left"):
        prepare(tmp_path / "kafka", command)
    assert read_cluster_id(tmp_path / "kafka") is None
