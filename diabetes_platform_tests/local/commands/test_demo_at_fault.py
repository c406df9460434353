"""`diabetes demo` after failures: a bad source, a killed command, two batches at once."""

import re
import signal
from pathlib import Path

import httpx
import psycopg
import pytest

from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.polling import wait_until
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
def demo_settings(tmp_path_factory: pytest.TempPathFactory) -> PlatformSettings:
    """A home in which the demo has run once."""
    settings = PlatformSettings(home=tmp_path_factory.mktemp("home"), port_offset=free_offset())
    code, output = finish(command(settings, "demo", "--once"))
    assert code == 0, output
    return settings


def test_another_source_is_rejected_or_promoted_and_rolled_back(
    demo_settings: PlatformSettings, tmp_path: Path
) -> None:
    lines = PIMA_CSV.read_text(encoding="utf-8").splitlines(keepends=True)
    empty, subset = tmp_path / "empty.csv", tmp_path / "subset.csv"
    empty.touch()
    subset.write_text("".join(lines[:701]), encoding="utf-8")
    code, output = finish(command(demo_settings, "materialize", f"--source={empty}"))
    assert (code, "raw/patients: " in output) == (1, True), output
    # Without the model: the release gate may reject one of fewer patients.
    selection = ("--select", '+key:"serving/patients"')
    for source in (PIMA_CSV, subset):
        code, output = finish(
            command(demo_settings, "materialize", f"--source={source}", *selection)
        )
        assert (code, "model/candidate" in output) == (0, False), output
    code, output = finish(command(demo_settings, "rollback"))
    assert code == 0, output
    assert re.search(r"serving.patients is version \d+ again: .* the released model stays", output)
    assert_nothing_runs(demo_settings)
    rollback_events = (
        "SELECT asset_key FROM event_logs"
        " WHERE run_id = '' AND dagster_event_type = 'ASSET_MATERIALIZATION'"
    )
    with (
        DemoPlatform(demo_settings).postgres as server,
        psycopg.connect(server.url("dagster")) as connection,
    ):
        assert connection.execute(rollback_events).fetchall() == [('["serving", "patients"]',)]


def test_a_killed_command_leaves_no_run_in_progress(demo_settings: PlatformSettings) -> None:
    with command(demo_settings, "materialize", f"--source={PIMA_CSV}") as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if "raw/patients (" in line:
                break
        killed.kill()
    layout = HomeLayout.of(demo_settings)
    wait_until(lambda: running_server(layout.postgres) is None, timeout=60)
    code, output = finish(command(demo_settings, "materialize", "--select", "raw/patients"))
    assert code == 0, output
    with (
        DemoPlatform(demo_settings).postgres as server,
        psycopg.connect(server.url("dagster")) as connection,
    ):
        runs = connection.execute("SELECT status FROM runs ORDER BY id DESC LIMIT 2").fetchall()
    assert runs == [("SUCCESS",), ("FAILURE",)]


def test_serves_the_previous_release_if_the_batch_fails(
    demo_settings: PlatformSettings, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    lines = []
    with command(demo_settings, "demo", PLATFORM_SOURCE=str(empty)) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("Serving until"):
                break
        output = "".join(lines)
        with httpx.Client(trust_env=False) as client:
            for url in (f"{demo_settings.api}/ready", f"{demo_settings.dagster}/server_info"):
                assert client.get(url).status_code == 200, output
        failure = re.search(r"run (\S+) failed: raw/patients: ", output)
        assert failure is not None, output
        assert f"{demo_settings.dagster}/runs/{failure[1]}" in output
        assert "the API: model " in output
        alerts = demo_settings.alerts.read_text(encoding="utf-8").splitlines()
        assert [failure[1] in line for line in alerts].count(True) == 1
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert_nothing_runs(demo_settings)
    code, output = finish(command(demo_settings, "demo", "--once", PLATFORM_SOURCE=str(empty)))
    assert code == 1, output


def test_rejects_a_second_batch_on_the_running_demo(demo_settings: PlatformSettings) -> None:
    with serving_demo(demo_settings):
        batches = [command(demo_settings, "materialize") for _ in range(2)]
        results = sorted(finish(batch) for batch in batches)
    assert [code for code, _ in results] == [0, 3], results
    assert "another batch or rollback is running" in results[1][1]
    assert results[1][1].count("\n") == 1
