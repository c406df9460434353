"""The demo as a person runs it: real services, the real data, moved ports, a fresh home."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.settings import (
    PlatformSettings,
    Port,
)
from diabetes_platform_tests.commands import (
    assert_nothing_runs,
    command,
    finish,
    free_offset,
    serving_demo,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> PlatformSettings:
    """One home for all of these tests."""
    return PlatformSettings(home=tmp_path_factory.mktemp("home"), port_offset=free_offset())


def test_once_runs_the_graph_predicts_and_leaves_nothing_running(moved: PlatformSettings) -> None:
    code, output = finish(command(moved, "demo", "--once"))
    assert code == 0, output
    for asset in ("raw/patients", "staging/patients", "serving/patients", "model/champion"):
        assert re.search(rf"✓ {asset} \([0-9.]+ s\)", output), asset
    assert re.search(r"result\s+│ (Diabetes|Normal)", output)
    assert f"http://127.0.0.1:{moved.port(Port.API)}/docs" in output
    assert "from start to prediction" in output
    assert_nothing_runs(moved)


@pytest.fixture(scope="module")
def serving(moved: PlatformSettings) -> Iterator[subprocess.Popen[str]]:
    with serving_demo(moved) as process:
        yield process


def test_it_serves_what_its_table_says(
    moved: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - it runs
) -> None:
    with httpx.Client(trust_env=False) as client:
        for url in (
            moved.api,
            f"{moved.api}/docs",
            f"{moved.api}/ready",
            f"{moved.api}/data-docs/",
            moved.dagster,
        ):
            assert client.get(url, follow_redirects=True).status_code == 200, url


def test_no_password_is_on_a_command_line(
    moved: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - it runs
) -> None:
    secret = HomeLayout.of(moved).secrets.read_text(encoding="utf-8").split('"')[3]
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True)
    assert secret.encode() not in shown.stdout


def test_a_second_demo_is_refused_in_one_line(
    moved: PlatformSettings, serving: subprocess.Popen[str]
) -> None:
    code, output = finish(command(moved, "demo"))
    assert code == 3
    assert f"already runs in {moved.home} (pid {serving.pid})" in output
    assert output.count("\n") == 1


def test_a_demo_elsewhere_is_told_who_has_its_port(
    moved: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - it runs
    tmp_path: Path,
) -> None:
    code, output = finish(command(moved, "demo", PLATFORM_HOME=str(tmp_path)))
    assert code == 3
    assert re.search(rf"port {moved.port(Port.API)} is in use by \S+ \(pid \d+\)", output)


def test_the_commands_work_on_the_running_demo(
    moved: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - it runs
) -> None:
    assert finish(command(moved, "status"))[0] == 0
    patient = ("--pregnancies=1", "--age=30", "--diabetes-pedigree-function=0.3")
    code, output = finish(command(moved, "predict", *patient))
    assert (code, '"result"' in output) == (0, True), output


def test_ctrl_c_stops_all_within_15_seconds_and_counts_as_success(
    moved: PlatformSettings, serving: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    serving.send_signal(signal.SIGINT)
    assert serving.wait(30) == 0
    assert time.monotonic() - began < 15
    assert_nothing_runs(moved)
