"""`diabetes demo` with real services and data, other ports and a new home."""

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
def demo_settings(tmp_path_factory: pytest.TempPathFactory) -> PlatformSettings:
    """One home for all tests of this module."""
    return PlatformSettings(home=tmp_path_factory.mktemp("home"), port_offset=free_offset())


def test_once_runs_a_batch_predicts_and_stops(demo_settings: PlatformSettings) -> None:
    code, output = finish(command(demo_settings, "demo", "--once"))
    assert code == 0, output
    for asset in ("raw/patients", "staging/patients", "serving/patients", "model/champion"):
        assert re.search(rf"✓ {asset} \([0-9.]+ s\)", output), f"{asset} is not in\n{output}"
    assert re.search(r"result\s+│ (Diabetes|Normal)", output)
    assert f"http://127.0.0.1:{demo_settings.port(Port.API)}/docs" in output
    assert "from start to prediction" in output
    assert_nothing_runs(demo_settings)


@pytest.fixture(scope="module")
def serving(demo_settings: PlatformSettings) -> Iterator[subprocess.Popen[str]]:
    with serving_demo(demo_settings) as process:
        yield process


def test_serves_the_urls_of_its_table(
    demo_settings: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - starts the demo
) -> None:
    with httpx.Client(trust_env=False) as client:
        for url in (
            demo_settings.api,
            f"{demo_settings.api}/docs",
            f"{demo_settings.api}/ready",
            f"{demo_settings.api}/data-docs/",
            demo_settings.dagster,
        ):
            assert client.get(url, follow_redirects=True).status_code == 200, url


def test_no_password_is_visible_on_a_command_line(
    demo_settings: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - starts the demo
) -> None:
    secret = HomeLayout.of(demo_settings).secrets.read_text(encoding="utf-8").split('"')[3]
    processes = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True)
    assert secret.encode() not in processes.stdout


def test_rejects_a_second_demo_in_one_line(
    demo_settings: PlatformSettings, serving: subprocess.Popen[str]
) -> None:
    code, output = finish(command(demo_settings, "demo"))
    assert code == 3
    assert f"already runs in {demo_settings.home} (pid {serving.pid})" in output
    assert output.count("\n") == 1


def test_names_the_owner_of_a_port_to_a_demo_in_another_home(
    demo_settings: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - starts the demo
    tmp_path: Path,
) -> None:
    code, output = finish(command(demo_settings, "demo", PLATFORM_HOME=str(tmp_path)))
    assert code == 3
    assert re.search(rf"port {demo_settings.port(Port.API)} is in use by \S+ \(pid \d+\)", output)


def test_other_commands_use_the_running_demo(
    demo_settings: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - starts the demo
) -> None:
    assert finish(command(demo_settings, "status"))[0] == 0
    patient = ("--pregnancies=1", "--age=30", "--diabetes-pedigree-function=0.3")
    code, output = finish(command(demo_settings, "predict", *patient))
    assert (code, '"result"' in output) == (0, True), output


def test_ctrl_c_stops_the_demo_within_15_seconds_with_exit_code_0(
    demo_settings: PlatformSettings, serving: subprocess.Popen[str]
) -> None:
    started = time.monotonic()
    serving.send_signal(signal.SIGINT)
    assert serving.wait(30) == 0
    assert time.monotonic() - started < 15
    assert_nothing_runs(demo_settings)
