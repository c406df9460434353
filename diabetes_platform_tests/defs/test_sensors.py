"""A failed run becomes one alert, in the log file and on the webhook."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.alerts import Alert, first_line
from diabetes_platform.defs.sensors import build_failure_alerts
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.conftest import Platform


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A real HTTP server that keeps what it is sent."""
    received: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent: the default writes to stderr."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()
        thread.join()


@pytest.mark.integration
def test_a_failed_run_is_told_to_the_log_and_the_webhook(
    platform: Platform, tmp_path: Path, webhook: tuple[str, list[dict[str, object]]]
) -> None:
    url, received = webhook
    result = platform.run(tmp_path / "absent.csv")
    settings = PlatformSettings.model_validate(
        {"home": platform.settings.home, "alert_webhook_url": url}
    )
    context = dg.build_run_status_sensor_context(
        sensor_name="failure_alerts",
        dagster_instance=platform.instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()

    build_failure_alerts(lambda: settings)(context)

    (line,) = settings.alerts.read_text().splitlines()
    (posted,) = received
    assert json.loads(line)["failed_steps"] == ["raw__patients"]
    assert "absent.csv: given a path that does not exist" in str(posted["text"])
    assert str(posted["run_url"]).endswith(f"/runs/{result.dagster_run.run_id}")


def test_the_alert_names_the_checks_that_stopped_the_run() -> None:
    alert = Alert(
        job="batch",
        run_id="1",
        run_url="http://127.0.0.1:3000/runs/1",
        message="1 blocking asset check failed",
        failed_steps=("staging_expectations",),
        failed_checks=("staging/patients: both_outcomes_present",),
        time="2026-01-01T00:00:00+00:00",
    )
    assert alert.text == (
        "batch failed at staging/patients: both_outcomes_present: "
        "1 blocking asset check failed (http://127.0.0.1:3000/runs/1)"
    )


@pytest.mark.parametrize(
    ("messages", "line"),
    [(["\n one\ntwo"], "one"), ([""], "no message"), (["", "three"], "three")],
)
def test_a_message_is_cut_to_its_first_line(messages: list[str], line: str) -> None:
    assert first_line(messages) == line
