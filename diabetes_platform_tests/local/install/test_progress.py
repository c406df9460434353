"""Console output of an installation's progress events."""

import io

import pytest
from rich.console import Console

from diabetes_platform.local.console import Progress
from diabetes_platform.local.install.progress import ConsoleProgress, step_progress


def console_progress(*, terminal: bool) -> tuple[Progress, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, color_system=None)
    return Progress(console), output


def test_prints_start_warnings_and_end_without_a_terminal() -> None:
    console, output = console_progress(terminal=False)
    with step_progress("jars/kafka", ConsoleProgress(console)) as kafka:
        kafka.running("downloading a.jar")
        kafka.warn("b.jar is missing: replaced")
    lines = [line.split(" s ", 1)[1].strip() for line in output.getvalue().splitlines()]
    assert lines[0] == "jars/kafka: starting"
    assert lines[1] == "! jars/kafka: b.jar is missing: replaced"
    assert lines[2].startswith("✓ jars/kafka installed (0.")
    assert len(lines) == 3
    assert [name for name, _ in console.timings] == ["jars/kafka"]


def test_shows_all_running_steps_beside_the_spinner_on_a_terminal() -> None:
    console, output = console_progress(terminal=True)
    events = ConsoleProgress(console)
    with (
        console,
        step_progress("bin/minio", events) as minio,
        step_progress("jars/kafka", events) as kafka,
    ):
        minio.running("7 packages compiled")
        kafka.running("downloading a.jar")
        status = console._status.status if console._status else ""
    assert status == "bin/minio: 7 packages compiled · jars/kafka: downloading a.jar"
    assert "bin/minio: starting\n" not in output.getvalue()


def test_does_not_report_a_failed_step_as_installed() -> None:
    console, output = console_progress(terminal=False)

    def fail() -> None:
        with step_progress("bin/minio", ConsoleProgress(console)):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert "installed" not in output.getvalue()
