"""What is said of a cluster that does not answer, or answers with an error."""

import pytest

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import FlinkCluster, first_line
from diabetes_platform.local.ports import HOST, free_port


def test_a_cluster_that_is_not_there_is_named() -> None:
    url = f"http://{HOST}:{free_port()}"
    with pytest.raises(ServiceError, match=f"^Flink's JobManager does not answer at {url}$"):
        FlinkCluster(url).overview()


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"errors":["org.x.FlinkJobNotFoundException: no job 12\\n\\tat Y"]}', "no job 12"),
        ('{"errors":["Not found: /nowhere"]}', "Not found: /nowhere"),
        ('{"errors":["Error.","<Exception on server side:\\norg.x.Y: why\\n\\tat Z>"]}', "why"),
        ("<html>", "<html>"),
        ("", "it does not say why"),
    ],
)
def test_an_error_is_told_without_its_stack_trace(body: str, line: str) -> None:
    assert line in first_line(body)
    assert "\n" not in first_line(body)
