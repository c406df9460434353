"""Damaged Delta logs of real tables: what is damaged, set aside, and read again."""

import json
from pathlib import Path

import pytest

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetRange
from diabetes_platform.lake.log_repair import (
    ASIDE,
    LOG,
    IngestedOffsets,
    find_damage,
    offsets_before,
    parse_entry,
    set_aside,
)
from diabetes_platform_tests.intakes import changed, stream

COMMIT = {"commitInfo": {"operation": "MERGE", "operationMetrics": {"num_target_files_added": 2}}}
ADD, TXN = {"add": {"path": "a"}}, {"txn": {"appId": "t", "version": 1}}
VERSIONS = 5


def entry(*actions: object) -> bytes:
    return "\n".join(map(json.dumps, actions)).encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(entry(COMMIT, ADD, ADD, TXN), None, id="complete"),
        pytest.param(entry({"commitInfo": {}}, TXN), None, id="offsets without rows"),
        pytest.param(b"", "have no commitInfo", id="empty"),
        pytest.param(b"\0" * 4096, "are not lines of JSON", id="zeros of a lost write"),
        pytest.param(entry(COMMIT, ADD, ADD)[:-9], "are not lines of JSON", id="cut in a line"),
        pytest.param(entry(COMMIT, ADD), "has 1 of 2 `add` actions", id="cut at a line's end"),
        pytest.param(entry(ADD, ADD), "have no commitInfo", id="its head is missing"),
        pytest.param(b"\xff\xfe\x00", "are not lines of JSON", id="other bytes"),
        pytest.param(b"[]\n7", "a line is no action", id="other JSON"),
    ],
)
def test_recognises_a_damaged_entry(content: bytes, expected: str | None) -> None:
    problem = parse_entry(content).problem
    assert problem is None if expected is None else expected in (problem or "")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake whose table has a version for each of some patients."""
    lake = Lake(str(tmp_path))
    for number in range(1, VERSIONS):
        stream(lake, changed(number, number))
    assert lake.table(STREAM_PATIENTS).version() == VERSIONS - 1
    return lake


def log_entry(lake: Lake, version: int) -> Path:
    return Path(lake.table(STREAM_PATIENTS).path) / LOG / f"{version:020}.json"


def damage(lake: Lake, version: int, kind: str) -> None:
    path = log_entry(lake, version)
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    else:
        cuts = {"half": len(content) // 2, "empty": 0, "first line": content.index(b"\n") + 1}
        path.write_bytes(content[: cuts[kind]])


@pytest.mark.parametrize("kind", ["half", "empty", "first line"])
@pytest.mark.parametrize("version", [VERSIONS - 1, VERSIONS - 2])
def test_goes_back_to_the_last_intact_version_and_continues_from_its_offsets(
    lake: Lake, version: int, kind: str
) -> None:
    damage(lake, version, kind)
    damaged = find_damage(lake, STREAM_PATIENTS)
    assert damaged is not None
    assert str(damaged).startswith(f"stream/patients: version {version} of {VERSIONS - 1} is ")
    assert set_aside(lake, damaged) == version - 1
    assert find_damage(lake, STREAM_PATIENTS) is None
    aside = log_entry(lake, version).parent.with_name(ASIDE)
    assert len(list(aside.iterdir())) == VERSIONS - version
    table = IncrementalTable.open_or_create(lake, STREAM_PATIENTS)
    assert table.committed_offsets("topic", "t", [0]) == {0: version - 1}
    for number in range(version, VERSIONS):
        stream(lake, changed(number, number))
    rows = lake.stream(STREAM_PATIENTS, ("id",), {}).read_all()
    assert sorted(rows["id"].to_pylist()) == list(range(1, VERSIONS))


def test_a_missing_entry_is_damage_and_the_later_ones_are_set_aside(lake: Lake) -> None:
    damage(lake, VERSIONS - 2, "missing")
    damaged = find_damage(lake, STREAM_PATIENTS)
    assert damaged is not None
    assert "is missing" in damaged.problem
    assert set_aside(lake, damaged) == VERSIONS - 3


def test_names_the_offsets_before_and_after_the_damaged_entry(lake: Lake) -> None:
    damage(lake, VERSIONS - 3, "half")
    damaged = find_damage(lake, STREAM_PATIENTS)
    assert damaged is not None
    assert damaged.offsets == tuple(
        IngestedOffsets("t", (OffsetRange(0, offset, offset),))
        for offset in (VERSIONS - 2, VERSIONS - 1)
    )
    assert offsets_before(lake, damaged, "topic", "t", [0, 1]) == {0: VERSIONS - 4}
    assert offsets_before(lake, damaged, "topic", "new", [0]) == {}


def test_readers_get_one_line_that_names_the_command(lake: Lake) -> None:
    damage(lake, VERSIONS - 1, "half")
    with pytest.raises(LakeError, match="`diabetes lake check` names the damaged file") as error:
        lake.table(STREAM_PATIENTS).open()
    assert "\n" not in str(error.value)


def test_sets_a_damaged_checkpoint_aside(lake: Lake) -> None:
    lake.table(STREAM_PATIENTS).open().create_checkpoint()
    (checkpoint,) = log_entry(lake, 0).parent.glob("*.checkpoint.parquet")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    damaged = find_damage(lake, STREAM_PATIENTS)
    assert damaged is not None
    assert damaged.obstacle is None
    assert set_aside(lake, damaged) == VERSIONS - 1
    assert find_damage(lake, STREAM_PATIENTS) is None


def test_an_entry_that_a_checkpoint_covers_is_no_damage(lake: Lake) -> None:
    lake.table(STREAM_PATIENTS).open().create_checkpoint()
    damage(lake, VERSIONS - 1, "half")
    assert find_damage(lake, STREAM_PATIENTS) is None
    assert lake.table(STREAM_PATIENTS).version() == VERSIONS - 1


def test_does_not_bring_removed_rows_back(lake: Lake) -> None:
    lake.table(STREAM_PATIENTS).open().delete("id = 1")
    damage(lake, VERSIONS - 1, "half")
    damaged = find_damage(lake, STREAM_PATIENTS)
    assert damaged is not None
    assert f"version {VERSIONS} removes rows (DELETE), which would come back" in str(damaged)
    with pytest.raises(LakeError, match="cannot be repaired"):
        set_aside(lake, damaged)
    assert log_entry(lake, VERSIONS).exists()


def test_the_first_version_needs_a_backup(lake: Lake) -> None:
    damage(lake, 0, "empty")
    damaged = find_damage(lake, STREAM_PATIENTS)
    assert damaged is not None
    assert "it is the first version" in str(damaged)


def test_a_table_that_does_not_exist_has_no_damage(tmp_path: Path) -> None:
    assert find_damage(Lake(str(tmp_path)), STREAM_PATIENTS) is None
