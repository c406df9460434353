"""`diabetes report`: the file, its access rights, and rejected output paths."""

import stat
from pathlib import Path

import pytest
from rich.console import Console

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.commands.report import write_report
from diabetes_platform.settings import PlatformSettings


@pytest.mark.integration
def test_writes_a_file_that_only_the_owner_may_read(
    settings: PlatformSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.html"
    output.write_text("an older one")
    output.chmod(0o644)
    write_report(settings, Console(), output)
    html = output.read_text(encoding="utf-8")
    assert html.lstrip().startswith("<!doctype html>")
    assert "No batch has been read yet." in html
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert "not run" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("report*")] == ["report.html"]


def test_rejects_a_missing_directory_before_starting_postgresql(
    settings: PlatformSettings, tmp_path: Path
) -> None:
    with pytest.raises(PlatformError, match=r"the directory .* does not exist"):
        write_report(settings, Console(), tmp_path / "no" / "report.html")
    assert not (settings.home / "postgres").exists()
