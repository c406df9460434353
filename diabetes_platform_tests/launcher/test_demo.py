"""The demo as a person runs it: real services, the real data, moved ports, a fresh home."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from diabetes_platform.launcher.layout import Layout
from diabetes_platform.launcher.platform import Platform
from diabetes_platform.launcher.ports import require_free
from diabetes_platform.launcher.postgres_data import running_server
from diabetes_platform.settings import (
    PIMA_CSV,
    PlatformSettings,
    Port,
)
from diabetes_platform_tests.commands import command, finish, free_offset

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> PlatformSettings:
    """One home for all of these tests: the later ones start from what the first has built."""
    return PlatformSettings(home=tmp_path_factory.mktemp("home"), port_offset=free_offset())


def assert_nothing_runs(settings: PlatformSettings) -> None:
    for port in (Port.API, Port.DAGSTER, Port.DAGSTER_CODE, Port.POSTGRES):
        require_free(settings.port(port), "the test")
    assert running_server(Layout.of(settings).postgres) is None


def test_once_runs_the_graph_predicts_and_leaves_nothing_running(moved: PlatformSettings) -> None:
    code, output = finish(command(moved, "demo", "--once"))
    assert code == 0, output
    for asset in ("raw/patients", "staging/patients", "serving/patients", "model/champion"):
        assert re.search(rf"✓ {asset} \([0-9.]+ s\)", output), asset
    assert re.search(r"result\s+│ (Diabetes|Normal)", output)
    assert f"http://127.0.0.1:{moved.port(Port.API)}/docs" in output
    assert "from start to prediction" in output
    assert_nothing_runs(moved)


def test_another_source_is_refused_or_promoted_and_can_be_rolled_back(
    moved: PlatformSettings, tmp_path: Path
) -> None:
    lines = PIMA_CSV.read_text(encoding="utf-8").splitlines(keepends=True)
    empty, most = tmp_path / "empty.csv", tmp_path / "most.csv"
    empty.touch()
    most.write_text("".join(lines[:701]), encoding="utf-8")
    code, output = finish(command(moved, "materialize", f"--source={empty}"))
    assert (code, "raw/patients: " in output) == (1, True), output
    # Whether a model of fewer patients may be released is the gate's business.
    promoted = ("--select", '+key:"serving/patients"')
    for source in (PIMA_CSV, most):
        code, output = finish(command(moved, "materialize", f"--source={source}", *promoted))
        assert (code, "model/candidate" in output) == (0, False), output
    code, output = finish(command(moved, "rollback"))
    assert code == 0, output
    assert re.search(r"serving.patients is version \d+ again: .* the released model stays", output)
    assert_nothing_runs(moved)
    outside_a_run = (
        "SELECT asset_key FROM event_logs"
        " WHERE run_id = '' AND dagster_event_type = 'ASSET_MATERIALIZATION'"
    )
    with Platform(moved).postgres as server, psycopg.connect(server.url("dagster")) as connection:
        assert connection.execute(outside_a_run).fetchall() == [('["serving", "patients"]',)]


def test_a_killed_command_leaves_no_run_that_seems_to_go_on(moved: PlatformSettings) -> None:
    with command(moved, "materialize", f"--source={PIMA_CSV}") as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if "raw/patients (" in line:
                break
        killed.kill()
    layout = Layout.of(moved)
    while running_server(layout.postgres) is not None:
        time.sleep(0.1)
    code, output = finish(command(moved, "materialize", "--select", "raw/patients"))
    assert code == 0, output
    with Platform(moved).postgres as server, psycopg.connect(server.url("dagster")) as connection:
        runs = connection.execute("SELECT status FROM runs ORDER BY id DESC LIMIT 2").fetchall()
    assert runs == [("SUCCESS",), ("FAILURE",)]


def test_a_demo_whose_batch_fails_serves_what_was_released_before(
    moved: PlatformSettings, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    lines = []
    with command(moved, "demo", PLATFORM_SOURCE=str(empty)) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("Serving until"):
                break
        output = "".join(lines)
        with httpx.Client(trust_env=False) as client:
            for url in (f"{moved.api}/ready", f"{moved.dagster}/server_info"):
                assert client.get(url).status_code == 200, output
        told = re.search(r"run (\S+) failed: raw/patients: ", output)
        assert told is not None, output
        assert f"{moved.dagster}/runs/{told[1]}" in output
        assert "the API: model " in output
        alerts = moved.alerts.read_text(encoding="utf-8").splitlines()
        assert [told[1] in line for line in alerts].count(True) == 1
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert_nothing_runs(moved)
    code, output = finish(command(moved, "demo", "--once", PLATFORM_SOURCE=str(empty)))
    assert code == 1, output


@pytest.fixture(scope="module")
def serving(moved: PlatformSettings) -> Iterator[subprocess.Popen[str]]:
    """A demo that serves, ended as Ctrl-C ends it."""
    with command(moved, "demo") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Serving until"):
                break
        yield process
        process.send_signal(signal.SIGINT)


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
    secret = Layout.of(moved).secrets.read_text(encoding="utf-8").split('"')[3]
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


def test_of_two_batches_on_the_running_demo_one_is_refused(
    moved: PlatformSettings,
    serving: subprocess.Popen[str],  # noqa: ARG001 - it runs
) -> None:
    both = [command(moved, "materialize") for _ in range(2)]
    ends = sorted(finish(one) for one in both)
    assert [code for code, _ in ends] == [0, 3], ends
    assert "another batch or rollback is running" in ends[1][1]
    assert ends[1][1].count("\n") == 1


def test_ctrl_c_stops_all_within_15_seconds_and_counts_as_success(
    moved: PlatformSettings, serving: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    serving.send_signal(signal.SIGINT)
    assert serving.wait(30) == 0
    assert time.monotonic() - began < 15
    assert_nothing_runs(moved)
