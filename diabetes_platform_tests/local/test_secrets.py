"""Secrets: made once, readable by their owner only, shown nowhere."""

import stat
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.secrets import POSTGRES, load_or_create


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "secrets.json"


def test_they_are_made_once_and_then_kept(path: Path) -> None:
    assert load_or_create(path) == load_or_create(path)


def test_a_name_that_comes_later_is_added_and_the_others_stay(path: Path) -> None:
    before = load_or_create(path)
    after = load_or_create(path, (POSTGRES, "reader"))
    assert after[POSTGRES] == before[POSTGRES]
    assert after["reader"] != before[POSTGRES]
    assert load_or_create(path, ("reader",)) == after


def test_two_homes_have_different_ones(path: Path, tmp_path: Path) -> None:
    assert load_or_create(path) != load_or_create(tmp_path / "other.json")


def test_only_the_owner_reads_the_file(path: Path) -> None:
    load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_others_read_is_refused_with_the_remedy(path: Path) -> None:
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(PlatformError, match=f"chmod 600 {path}"):
        load_or_create(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"hunter2": 1}', "null"])
def test_a_damaged_file_is_refused_without_showing_it(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(PlatformError, match="is damaged") as refused:
        load_or_create(path)
    assert "hunter2" not in str(refused.value)


def test_their_representation_hides_them(path: Path) -> None:
    made = load_or_create(path)
    assert made[POSTGRES] not in repr(made)
