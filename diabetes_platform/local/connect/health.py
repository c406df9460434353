"""The health checks of change data capture, up to a patient that goes through the whole stream."""

from diabetes_platform.clients.connect import ConnectApi, connector_state
from diabetes_platform.contract.topics import CONNECTOR
from diabetes_platform.local.connect.canary import canary_answered
from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.provisioning.connector_failures import explain
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.settings import Port
from diabetes_platform.warehouse.capture import current_capture, read_position, replacement
from diabetes_platform.warehouse.connection import connected
from diabetes_platform.warehouse.replication import MIB, SLOT, read_slot, slot_problem


def connector_runs(stack: Stack) -> str:
    """Return the connector's state; raises if it or its task does not run."""
    state = connector_state(stack.url(Port.CONNECT), CONNECTOR)
    if not state.running:
        reason = f": {explain(state.trace)}" if state.trace else ""
        raise RuntimeError(f"{CONNECTOR} is {state}{reason}")
    return f"{CONNECTOR} is {state}"


def replication_slot(stack: Stack) -> str:
    """Return the lag of the slot's consumer; raises if it has none or the slot is lost."""
    superuser = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)
    with connected(superuser) as connection:
        slot = read_slot(connection)
    problem = slot_problem(slot, WAREHOUSE_DATABASE)
    if slot is None or problem is not None:
        raise RuntimeError(problem)
    if slot.held_by is None:
        raise RuntimeError(f"nobody reads {SLOT}, which retains {slot.kept / MIB:.1f} MiB of WAL")
    return f"{SLOT} is read by {slot.held_by}, {slot.behind / MIB:.1f} MiB behind"


def captured_server(stack: Stack) -> str:
    """Return the server that the connector captures; raises if PostgreSQL is another one."""
    api = ConnectApi(stack.url(Port.CONNECT))
    config = api.config(CONNECTOR)
    if config is None:
        raise RuntimeError(f"Connect has no connector {CONNECTOR}")
    offset_lsn = api.offset_lsn(CONNECTOR)
    with connected(database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)) as connection:
        server = read_position(connection)
    if (reason := replacement(config, offset_lsn, server)) is not None:
        raise RuntimeError(reason)
    return f"captures server {server} in epoch {current_capture(config, server).epoch}"


CHECKS = (
    HealthCheck(
        "connect",
        "connector runs",
        connector_runs,
        "see `diabetes logs connect`; `make down` and `make up` register the connector again",
        Port.CONNECT,
        of_stream=True,
    ),
    HealthCheck(
        "replication slot",
        "is read",
        replication_slot,
        "the connector reads it: see `diabetes logs connect`",
        Port.POSTGRES,
        of_stream=True,
    ),
    HealthCheck(
        "connect",
        "captures this server",
        captured_server,
        "the sensor stream_health and `make up` start the capture again with a snapshot: "
        "docs/operations.md, “Another PostgreSQL server”",
        Port.CONNECT,
        of_stream=True,
    ),
    HealthCheck(
        "stream",
        "answers a canary patient",
        canary_answered,
        "the result names the stage: see `diabetes logs connect`, `stream-job` or `predictor`; "
        "without a model, `diabetes materialize` releases one",
        Port.KAFKA,
        of_stream=True,
    ),
)
