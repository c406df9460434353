"""Stamps: what an installation came from, and whether its files are as they were."""

import os
from pathlib import Path

import pytest

from diabetes_platform.local.install.stamp import Stamp, digest_of, read_stamp


def test_a_stamp_is_read_as_it_was_written(tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"jar")
    stamp = Stamp.of("digest", [jar])
    stamp.write(tmp_path / "stamp")
    assert read_stamp(tmp_path / "stamp") == stamp
    assert stamp.changed([jar]) == set()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": "d"}', '{"files": {"a": 1}}', "abc"])
def test_a_stamp_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stamp").write_text(text, encoding="utf-8")
    assert read_stamp(tmp_path / "stamp") is None


def test_without_a_file_there_is_no_stamp(tmp_path: Path) -> None:
    assert read_stamp(tmp_path / "stamp") is None


def test_what_came_went_or_changed_is_named(tmp_path: Path) -> None:
    same, longer, touched, gone, new = (tmp_path / name for name in "abcde")
    for file in (same, longer, touched, gone):
        file.write_bytes(b"1")
    stamp = Stamp.of("digest", [same, longer, touched, gone])
    longer.write_bytes(b"12")
    os.utime(touched, ns=(0, 0))
    new.write_bytes(b"1")
    assert stamp.changed([same, longer, touched, new]) == {"b", "c", "d", "e"}


def test_a_digest_knows_where_one_part_ends(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("ab", encoding="utf-8")
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab", "c") == digest_of(file, "c")
