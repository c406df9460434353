"""The Flink client: clusters that do not answer, and error responses."""

import pytest

from diabetes_platform.clients.errors import ServiceResponseError, ServiceUnreachableError
from diabetes_platform.clients.flink import FlinkCluster, error_line
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.lake.web import serving


def test_names_the_cluster_that_does_not_answer() -> None:
    url = f"http://{HOST}:{free_port()}"
    with pytest.raises(
        ServiceUnreachableError, match=f"^Flink's JobManager does not answer at {url}$"
    ):
        FlinkCluster(url).overview()


def test_another_program_on_the_port_is_a_service_error() -> None:
    with serving() as program, pytest.raises(ServiceResponseError, match="without JSON"):
        FlinkCluster(program.url).overview()


JOB = {
    "/jobs/a/checkpoints": {
        "counts": {"completed": 1, "failed": 0, "restored": 1},
        "latest": {"completed": None, "restored": {"id": 7, "external_path": "s3://x/chk-7"}},
    },
    "/jobs/a/exceptions": {
        "exceptionHistory": {"entries": [{"timestamp": 1_000, "stacktrace": "java.io.EOF"}]}
    },
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FlinkCluster:
    """A cluster with a job that was restored and then failed."""
    monkeypatch.setattr(FlinkCluster, "_get", lambda _, path: JOB[path])
    return FlinkCluster("http://unused")


def test_names_the_checkpoint_that_a_job_was_restored_from(cluster: FlinkCluster) -> None:
    assert cluster.checkpoints("a").newest_restored == "s3://x/chk-7"


def test_returns_no_failure_from_before_a_time(cluster: FlinkCluster) -> None:
    assert [cluster.root_exception("a", since) for since in (0, 1_000, 1_001)] == [
        "java.io.EOF",
        "java.io.EOF",
        None,
    ]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"errors":["org.x.FlinkJobNotFoundException: no job 12\\n\\tat Y"]}', "no job 12"),
        ('{"errors":["Not found: /nowhere"]}', "Not found: /nowhere"),
        ('{"errors":["Error.","<Exception on server side:\\norg.x.Y: why\\n\\tat Z>"]}', "why"),
        ("<html>", "<html>"),
        ("", "no reason given"),
    ],
)
def test_an_error_is_one_line_without_its_stack_trace(body: str, line: str) -> None:
    assert line in error_line(body)
    assert "\n" not in error_line(body)
