"""The demo when something goes wrong: a bad source, a killed command, two batches at once."""

import re
import signal
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.settings import PIMA_CSV, PlatformSettings
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
    """A home in which the demo has run once."""
    settings = PlatformSettings(home=tmp_path_factory.mktemp("home"), port_offset=free_offset())
    code, output = finish(command(settings, "demo", "--once"))
    assert code == 0, output
    return settings


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
    with (
        DemoPlatform(moved).postgres as server,
        psycopg.connect(server.url("dagster")) as connection,
    ):
        assert connection.execute(outside_a_run).fetchall() == [('["serving", "patients"]',)]


def test_a_killed_command_leaves_no_run_that_seems_to_go_on(moved: PlatformSettings) -> None:
    with command(moved, "materialize", f"--source={PIMA_CSV}") as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if "raw/patients (" in line:
                break
        killed.kill()
    layout = HomeLayout.of(moved)
    while running_server(layout.postgres) is not None:
        time.sleep(0.1)
    code, output = finish(command(moved, "materialize", "--select", "raw/patients"))
    assert code == 0, output
    with (
        DemoPlatform(moved).postgres as server,
        psycopg.connect(server.url("dagster")) as connection,
    ):
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


def test_of_two_batches_on_the_running_demo_one_is_refused(moved: PlatformSettings) -> None:
    with serving_demo(moved):
        both = [command(moved, "materialize") for _ in range(2)]
        ends = sorted(finish(one) for one in both)
    assert [code for code, _ in ends] == [0, 3], ends
    assert "another batch or rollback is running" in ends[1][1]
    assert ends[1][1].count("\n") == 1
