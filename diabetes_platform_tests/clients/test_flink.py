"""The Flink client: clusters that do not answer, and error responses."""

import pytest

from diabetes_platform.clients.errors import ServiceError, ServiceResponseError
from diabetes_platform.clients.flink import FlinkCluster, error_line
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.lake.web import serving


def test_names_the_cluster_that_does_not_answer() -> None:
    url = f"http://{HOST}:{free_port()}"
    with pytest.raises(ServiceError, match=f"^Flink's JobManager does not answer at {url}$"):
        FlinkCluster(url).overview()


def test_another_program_on_the_port_is_a_service_error() -> None:
    with serving() as program, pytest.raises(ServiceResponseError, match="without JSON"):
        FlinkCluster(program.url).overview()


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
