"""Secrets: generated once, readable by their owner only, never shown."""

import stat
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.secrets import POSTGRES, load_or_create


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "secrets.json"


def test_generates_secrets_once(path: Path) -> None:
    assert load_or_create(path) == load_or_create(path)


def test_adds_a_missing_secret_and_keeps_the_others(path: Path) -> None:
    initial = load_or_create(path)
    extended = load_or_create(path, (POSTGRES, "reader"))
    assert extended[POSTGRES] == initial[POSTGRES]
    assert extended["reader"] != initial[POSTGRES]
    assert load_or_create(path, ("reader",)) == extended


def test_two_homes_have_different_secrets(path: Path, tmp_path: Path) -> None:
    assert load_or_create(path) != load_or_create(tmp_path / "other.json")


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_rejects_a_file_that_others_may_read(path: Path) -> None:
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(PlatformError, match=f"chmod 600 {path}"):
        load_or_create(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"hunter2": 1}', "null"])
def test_rejects_a_damaged_file_without_showing_its_content(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(PlatformError, match="is damaged") as error:
        load_or_create(path)
    assert "hunter2" not in str(error.value)


def test_repr_hides_the_secrets(path: Path) -> None:
    secrets = load_or_create(path)
    assert secrets[POSTGRES] not in repr(secrets)
