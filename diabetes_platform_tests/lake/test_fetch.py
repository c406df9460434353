"""Fetching: a path or a URL becomes a local file with its content hash, and stays that content."""

import hashlib
import os
from pathlib import Path

import pytest

from diabetes_platform.lake.fetch import fetch
from diabetes_platform.lake.source_files import SourceError
from diabetes_platform_tests.lake.conftest import Save, chained_errors
from diabetes_platform_tests.lake.web import CONTENT, serving


def test_a_url_gives_the_same_content_hash_as_the_file(save: Save) -> None:
    path, expected = save(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    with (
        serving() as web,
        fetch(f"{web.url}/a%20b.csv?key=s3cret") as download,
        fetch(str(path)) as file,
        fetch(f"file://{path}") as as_url,
    ):
        assert {s.content_hash for s in (file, as_url, download)} == {expected}
        assert file.batch_id == expected[:12]
        assert (file.name, download.name) == (str(path), f"{web.url}/a%20b.csv")


def test_a_download_is_deleted_after_use() -> None:
    with serving() as web, fetch(f"{web.url}/a.csv") as download:
        assert download.path.exists()
    assert not download.path.exists()


def test_rejects_an_unreadable_path(tmp_path: Path) -> None:
    cases = {
        tmp_path / "absent.csv": "the path does not exist; allowed: ",
        tmp_path: "the path is a directory; allowed: ",
        Path("/proc/self/mem"): "the file cannot be read (Input/output error); allowed: ",
    }
    for path, message in cases.items():
        with pytest.raises(SourceError, match=f"^{path}: ") as refused, fetch(str(path)):
            pass
        assert message in str(refused.value)
        assert chained_errors(refused.value) == []


def test_an_unchanged_file_has_no_error(save: Save) -> None:
    with fetch(str(save("6,148"))) as file:
        file.path.read_bytes()
        assert file.change_error() is None


def test_detects_any_write(save: Save, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("6,148")

    def append(path: Path) -> None:
        path.write_text("6,148,72")

    def overwrite(path: Path) -> None:
        path.write_text("6,149")
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))

    def replace(path: Path) -> None:
        stat = path.stat()
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(path)

    for write in (append, overwrite, replace, Path.unlink):
        with fetch(str(save("6,148"))) as file:
            write(file.path)
            assert "changed while it was read" in str(file.change_error())
