"""What a person reads when Dagster's webserver does not answer, or refuses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import free_port


class Answering(HTTPServer):
    """Answers every request with `status` and `answer`, and keeps what was asked."""

    status: int = 200
    content_type: str = "application/json"
    answer: object = None
    asked: dict[str, object]


class _Answer(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The default writes to stderr."""


@pytest.fixture
def webserver() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(webserver: Answering) -> DagsterClient:
    return DagsterClient(f"http://127.0.0.1:{webserver.server_port}")


def test_a_launch_names_the_job_its_assets_config_and_tags(
    webserver: Answering, client: DagsterClient
) -> None:
    webserver.answer = {
        "data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "7"}}}
    }
    raw = dg.AssetKey(["raw", "patients"])

    assert client.launch("batch", run_config={"ops": {}}, assets=[raw], tags={"a": "b"}) == "7"

    variables = webserver.asked["variables"]
    assert variables == {
        "params": {
            "selector": {
                "repositoryLocationName": "diabetes_platform",
                "repositoryName": "__repository__",
                "jobName": "batch",
                "assetSelection": [{"path": ["raw", "patients"]}],
            },
            "runConfigData": {"ops": {}},
            "executionMetadata": {"tags": [{"key": "a", "value": "b"}]},
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
def test_a_refused_launch_says_why_in_one_line(
    webserver: Answering, client: DagsterClient, answer: dict[str, object], reason: str
) -> None:
    webserver.answer = {"data": {"launchRun": answer}}
    with pytest.raises(PlatformError) as refused:
        client.launch("batch")
    assert str(refused.value) == reason


def test_a_run_that_cannot_be_ended_is_named(webserver: Answering, client: DagsterClient) -> None:
    answer = {"__typename": "TerminateRunFailure", "message": "it has ended"}
    webserver.answer = {"data": {"terminateRun": answer}}
    with pytest.raises(PlatformError, match="run 7 was not ended: it has ended"):
        client.terminate("7")


def test_an_error_within_dagster_is_told_by_its_first_line(
    webserver: Answering, client: DagsterClient
) -> None:
    error = {"__typename": "PythonError", "message": "OperationalError: closed\n\tThis means"}
    webserver.status, webserver.answer = 500, {"data": {"launchRun": error}}
    with pytest.raises(PlatformError) as refused:
        client.launch("batch")
    assert str(refused.value) == "batch was not launched: OperationalError: closed"


def test_a_question_that_dagster_does_not_understand_is_told(
    webserver: Answering, client: DagsterClient
) -> None:
    webserver.status, webserver.answer = 400, {"errors": [{"message": "Unknown field"}]}
    with pytest.raises(PlatformError, match="Dagster refuses: Unknown field"):
        client.ask("{ version }")


def test_an_answer_of_another_server_is_told(webserver: Answering, client: DagsterClient) -> None:
    webserver.status, webserver.content_type, webserver.answer = 404, "text/html", "no such page"
    with pytest.raises(PlatformError, match="answers 404"):
        client.ask("{ version }")


def test_a_webserver_that_does_not_answer_is_named() -> None:
    port = free_port()
    with pytest.raises(PlatformError, match=rf"Dagster at http://127.0.0.1:{port} does not answer"):
        DagsterClient(f"http://127.0.0.1:{port}").terminate("7")
