"""Reports of an installation as a person sees them."""

import io

import pytest
from rich.console import Console

from diabetes_platform.local.console import Progress
from diabetes_platform.local.install.report import reported
from diabetes_platform.local.install.shown import Shown


def shown(*, terminal: bool) -> tuple[Progress, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, color_system=None)
    return Progress(console), output


def test_without_a_terminal_the_beginning_notes_and_the_end_are_lines() -> None:
    progress, output = shown(terminal=False)
    with reported("jars/kafka", Shown(progress)) as reporter:
        reporter.doing("downloading a.jar")
        reporter.note("b.jar is missing: replaced")
    lines = [line.split(" s ", 1)[1].strip() for line in output.getvalue().splitlines()]
    assert lines[0] == "jars/kafka: starting"
    assert lines[1] == "! jars/kafka: b.jar is missing: replaced"
    assert lines[2].startswith("✓ jars/kafka installed (0.")
    assert len(lines) == 3
    assert [name for name, _ in progress.timings] == ["jars/kafka"]


def test_on_a_terminal_all_that_goes_on_stands_beside_the_spinner() -> None:
    progress, output = shown(terminal=True)
    show = Shown(progress)
    with progress, reported("bin/minio", show) as minio, reported("jars/kafka", show) as kafka:
        minio.doing("7 packages compiled")
        kafka.doing("downloading a.jar")
        seen = progress._status.status if progress._status else ""
    assert seen == "bin/minio: 7 packages compiled · jars/kafka: downloading a.jar"
    assert "bin/minio: starting\n" not in output.getvalue()


def test_a_part_that_failed_is_not_done() -> None:
    progress, output = shown(terminal=False)

    def fail() -> None:
        with reported("bin/minio", Shown(progress)):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert "installed" not in output.getvalue()
