"""Stamps of installations: reading, writing, and detection of changed files."""

import os
from pathlib import Path

import pytest

from diabetes_platform.local.install.stamps import Stamp, digest_of, read_stamp


def test_reads_back_a_written_stamp(tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"jar")
    stamp = Stamp.of("digest", [jar])
    stamp.write(tmp_path / "stamp")
    assert read_stamp(tmp_path / "stamp") == stamp
    assert stamp.changed([jar]) == set()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": "d"}', '{"files": {"a": 1}}', "abc"])
def test_an_unreadable_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stamp").write_text(text, encoding="utf-8")
    assert read_stamp(tmp_path / "stamp") is None


def test_a_missing_stamp_is_none(tmp_path: Path) -> None:
    assert read_stamp(tmp_path / "stamp") is None


def test_names_added_removed_and_changed_files(tmp_path: Path) -> None:
    unchanged, longer, touched, removed, added = (tmp_path / name for name in "abcde")
    for file in (unchanged, longer, touched, removed):
        file.write_bytes(b"1")
    stamp = Stamp.of("digest", [unchanged, longer, touched, removed])
    longer.write_bytes(b"12")
    os.utime(touched, ns=(0, 0))
    added.write_bytes(b"1")
    assert stamp.changed([unchanged, longer, touched, added]) == {"b", "c", "d", "e"}


def test_digest_separates_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("ab", encoding="utf-8")
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab", "c") == digest_of(file, "c")
