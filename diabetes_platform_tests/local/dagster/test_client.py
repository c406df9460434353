"""The client of Dagster's webserver: requests, and messages after errors."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.client import DagsterClient, LaunchRequest
from diabetes_platform.local.ports import free_port


class StubWebserver(HTTPServer):
    """Answers every request with `status` and `answer`, and records the requests."""

    status: int = 200
    content_type: str = "application/json"
    answer: object = None
    request: dict[str, object]


class _Answer(BaseHTTPRequestHandler):
    server: StubWebserver

    def do_POST(self) -> None:
        self.server.request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The default writes to stderr."""


@pytest.fixture
def webserver() -> Iterator[StubWebserver]:
    with StubWebserver(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(webserver: StubWebserver) -> DagsterClient:
    return DagsterClient(f"http://127.0.0.1:{webserver.server_port}")


def test_launch_sends_job_assets_config_and_tags(
    webserver: StubWebserver, client: DagsterClient
) -> None:
    webserver.answer = {
        "data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "7"}}}
    }
    raw = dg.AssetKey(["raw", "patients"])

    assert client.launch(LaunchRequest("batch", {"ops": {}}, [raw], "2026-11-24")) == "7"

    variables = webserver.request["variables"]
    assert variables == {
        "params": {
            "selector": {
                "repositoryLocationName": "diabetes_platform",
                "repositoryName": "__repository__",
                "jobName": "batch",
                "assetSelection": [{"path": ["raw", "patients"]}],
            },
            "runConfigData": {"ops": {}},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "2026-11-24"}]},
        }
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            {"__typename": "PipelineNotFoundError", "message": "Could not find Pipeline batch"},
            "batch was not launched: Could not find Pipeline batch",
        ),
        (
            {
                "__typename": "RunConfigValidationInvalid",
                "errors": [{"message": "unexpected config entry\nat the root"}, {"message": "b"}],
            },
            "batch was not launched: unexpected config entry",
        ),
        ({"__typename": "RunConflict"}, "batch was not launched: RunConflict"),
    ],
)
def test_a_rejected_launch_has_its_reason_in_one_line(
    webserver: StubWebserver, client: DagsterClient, answer: dict[str, object], reason: str
) -> None:
    webserver.answer = {"data": {"launchRun": answer}}
    with pytest.raises(PlatformError) as refused:
        client.launch(LaunchRequest("batch"))
    assert str(refused.value) == reason


def test_names_a_run_that_cannot_be_terminated(
    webserver: StubWebserver, client: DagsterClient
) -> None:
    answer = {"__typename": "TerminateRunFailure", "message": "it has ended"}
    webserver.answer = {"data": {"terminateRun": answer}}
    with pytest.raises(PlatformError, match="run 7 was not terminated: it has ended"):
        client.terminate("7")


def test_reports_the_first_line_of_an_error_in_dagster(
    webserver: StubWebserver, client: DagsterClient
) -> None:
    error = {"__typename": "PythonError", "message": "OperationalError: closed\n\tThis means"}
    webserver.status, webserver.answer = 500, {"data": {"launchRun": error}}
    with pytest.raises(PlatformError) as refused:
        client.launch(LaunchRequest("batch"))
    assert str(refused.value) == "batch was not launched: OperationalError: closed"


def test_reports_an_invalid_query(webserver: StubWebserver, client: DagsterClient) -> None:
    webserver.status, webserver.answer = 400, {"errors": [{"message": "Unknown field"}]}
    with pytest.raises(PlatformError, match="Dagster answers with an error: Unknown field"):
        client.query("{ version }")


def test_reports_the_answer_of_another_server(
    webserver: StubWebserver, client: DagsterClient
) -> None:
    webserver.status, webserver.content_type, webserver.answer = 404, "text/html", "no such page"
    with pytest.raises(PlatformError, match="answers 404"):
        client.query("{ version }")


def test_names_a_webserver_that_does_not_answer() -> None:
    port = free_port()
    with pytest.raises(PlatformError, match=rf"Dagster at http://127.0.0.1:{port} does not answer"):
        DagsterClient(f"http://127.0.0.1:{port}").terminate("7")
