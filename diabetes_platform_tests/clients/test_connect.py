"""The Kafka Connect client: parsing connector states, and a Connect that does not answer."""

from typing import Any

import pytest

from diabetes_platform.clients.connect import (
    NO_ANSWER,
    NOT_REGISTERED,
    ConnectorState,
    connector_state,
    parse_offset_lsn,
    parse_status,
)
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.capture import Connect
from diabetes_platform_tests.lake.web import serving

WORKER = "127.0.0.1:8083"


def status(connector: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    """A status response of Connect."""
    numbered = [{"id": n, "worker_id": WORKER, **task} for n, task in enumerate(tasks)]
    connector_status = {"state": connector, "worker_id": WORKER, "version": "3.6.3.Final"}
    return {
        "name": "diabetes-cdc",
        "connector": connector_status,
        "tasks": numbered,
        "type": "source",
    }


@pytest.mark.parametrize(
    ("response", "state", "line", "running", "failed"),
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
def test_a_connector_runs_only_with_all_of_its_tasks(
    response: dict[str, Any], state: ConnectorState, line: str, running: bool, failed: bool
) -> None:
    assert parse_status(response) == state
    assert str(state) == line
    assert (state.running, state.failed) == (running, failed)


def test_reports_a_connect_that_does_not_answer_as_a_state() -> None:
    state = connector_state(f"http://{HOST}:{free_port()}", "diabetes-cdc")
    assert state == ConnectorState(NO_ANSWER)
    assert str(state) == "Kafka Connect does not answer"
    assert not state.running


@pytest.mark.integration
def test_reports_an_unregistered_connector_as_a_state(connect: Connect) -> None:
    state = connector_state(connect.url, "no-such-connector")
    assert state == ConnectorState(NOT_REGISTERED)
    assert str(state) == "not registered"


@pytest.mark.parametrize(
    ("offsets", "lsn"),
    [
        ([], None),
        ([{"partition": {"server": "diabetes_cdc"}, "offset": None}], None),
        ([{"partition": {"server": "diabetes_cdc"}, "offset": {"lsn": 28605664}}], 28605664),
        ([{"partition": {}, "offset": {"lsn": "28605664", "txId": 7}}], None),
        ([{"partition": {}, "offset": {"lsn": 7}}, {"partition": {}, "offset": {"lsn": 9}}], 9),
    ],
)
def test_reads_the_position_in_the_offsets_of_a_connector(
    offsets: list[dict[str, Any]], lsn: int | None
) -> None:
    assert parse_offset_lsn({"offsets": offsets}) == lsn


def test_another_program_on_the_port_is_an_unknown_state() -> None:
    with serving() as program:
        state = connector_state(program.url, "diabetes-cdc")
    assert not state.running
    assert state.connector == f"unknown ({program.url} answers without JSON)"
