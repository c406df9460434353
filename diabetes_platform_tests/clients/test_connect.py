"""What Connect says of a connector, and what is made of it when it says nothing."""

from typing import Any

import pytest

from diabetes_platform.clients.connect import (
    NO_ANSWER,
    NOT_REGISTERED,
    ConnectorState,
    connector_state,
    parse_status,
)
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.capture import Connect

WORKER = "127.0.0.1:8083"


def status(connector: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    """An answer as Connect gives it."""
    numbered = [{"id": n, "worker_id": WORKER, **task} for n, task in enumerate(tasks)]
    told = {"state": connector, "worker_id": WORKER, "version": "3.6.3.Final"}
    return {"name": "diabetes-cdc", "connector": told, "tasks": numbered, "type": "source"}


@pytest.mark.parametrize(
    ("told", "state", "line", "running", "failed"),
    [
        (
            status("RUNNING", {"state": "RUNNING"}),
            ConnectorState("RUNNING", ("RUNNING",)),
            "RUNNING, task RUNNING",
            True,
            False,
        ),
        (
            status("RUNNING", {"state": "FAILED", "trace": "java.lang.Error: x"}),
            ConnectorState("RUNNING", ("FAILED",), "java.lang.Error: x"),
            "RUNNING, task FAILED",
            False,
            True,
        ),
        (
            status("FAILED") | {"connector": {"state": "FAILED", "trace": "java.lang.Error: y"}},
            ConnectorState("FAILED", (), "java.lang.Error: y"),
            "FAILED, task none",
            False,
            True,
        ),
        (
            status("RUNNING"),
            ConnectorState("RUNNING"),
            "RUNNING, task none",
            False,
            False,
        ),
        (
            status("PAUSED", {"state": "PAUSED"}),
            ConnectorState("PAUSED", ("PAUSED",)),
            "PAUSED, task PAUSED",
            False,
            False,
        ),
        (
            status("RUNNING", {"state": "RUNNING"}, {"state": "UNASSIGNED"}),
            ConnectorState("RUNNING", ("RUNNING", "UNASSIGNED")),
            "RUNNING, task RUNNING, UNASSIGNED",
            False,
            False,
        ),
    ],
)
def test_a_connector_runs_where_it_and_all_of_its_tasks_do(
    told: dict[str, Any], state: ConnectorState, line: str, running: bool, failed: bool
) -> None:
    assert parse_status(told) == state
    assert str(state) == line
    assert (state.running, state.failed) == (running, failed)


def test_a_connect_that_does_not_answer_is_a_state_too() -> None:
    state = connector_state(f"http://{HOST}:{free_port()}", "diabetes-cdc")
    assert state == ConnectorState(NO_ANSWER)
    assert str(state) == "Kafka Connect does not answer"
    assert not state.running


@pytest.mark.integration
def test_a_connector_that_nobody_registered_is_a_state_too(connect: Connect) -> None:
    state = connector_state(connect.url, "no-such-connector")
    assert state == ConnectorState(NOT_REGISTERED)
    assert str(state) == "not registered"
