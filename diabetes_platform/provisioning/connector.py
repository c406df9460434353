"""Set-up of change data capture: registers the Debezium connector and waits until it captures."""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from diabetes_platform.clients.connect import ConnectApi, ConnectorState
from diabetes_platform.clients.errors import ServiceResponseError
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.topics import CONNECTOR
from diabetes_platform.errors import PlatformError
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.command import plain_passwords, run_setup
from diabetes_platform.provisioning.connector_failures import explain, reader_problem, table_problem
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE, connection_url
from diabetes_platform.provisioning.sessions import connected
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, SetupSettings
from diabetes_platform.warehouse.capture import (
    current_capture,
    first_capture,
    next_capture,
    read_position,
    register_stopped,
    replacement,
    start_epoch,
)
from diabetes_platform.warehouse.replication import read_slot, recreate_slot, slot_problem
from diabetes_platform.warehouse.roles import DEBEZIUM

CONNECTOR_FILE = PROJECT_ROOT / "infra" / "debezium" / f"{CONNECTOR}.json"
READY_TIMEOUT = 60.0
_RESTART_TIMEOUT = 5.0
_INTERVAL = 0.3
_TABLES = """
SELECT n.nspname || '.' || c.relname,
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
"""
_PUBLISHED = """
SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s
"""

_COLUMNS = ",".join(
    re.escape(f"{DIABETES_NEW.name}.{column}") for column in DIABETES_NEW.column_names
)
"""Debezium takes regular expressions for whole names."""

Config = Mapping[str, str]


def setup_connector(
    connect_url: str, database_url: str, file: Path = CONNECTOR_FILE, timeout: float = READY_TIMEOUT
) -> tuple[ConnectorState, bool]:
    """Register the connector of `file` at `connect_url` and wait until it reads the slot.

    `database_url` is the warehouse as the connector's role. Returns the connector's state, and
    whether its configuration was changed. Idempotent; also resumes a paused connector and restarts
    what has failed. If the database is on another server than before, the connector takes a new
    snapshot. Raises PlatformError with the reason if changes are not captured, and
    ServiceError if Connect does not answer.
    """
    config = read_config(file)
    _require_tables(config, database_url)
    deadline = time.monotonic() + timeout
    api = ConnectApi(connect_url)
    try:
        changed = _register(api, config, database_url, deadline)
        api.resume(CONNECTOR)
        state = _wait_until_captured(api, database_url, deadline)
    except ServiceResponseError as error:
        raise PlatformError(f"{CONNECTOR}: {explain(str(error))}") from error
    except TimeoutError as error:
        raise PlatformError(f"{CONNECTOR} does not stop; see `diabetes logs connect`") from error
    return state, changed


def read_config(file: Path = CONNECTOR_FILE) -> Config:
    """Return the connector's configuration: `file`, and the contract's columns to capture.

    Other columns of the table are not captured: their values could be private, or too large for
    the topic. Raises PlatformError.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PlatformError(f"{file}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise PlatformError(f"{file} must be an object with text values only")
    return {**content, "column.include.list": _COLUMNS}


def _require_tables(config: Config, database_url: str) -> None:
    with connected(database_url) as connection:
        existing = dict(connection.execute(_TABLES).fetchall())
        published = connection.execute(_PUBLISHED, (config["publication.name"],))
        problem = table_problem(config, existing, [name for (name,) in published])
    if problem is not None:
        raise PlatformError(problem)


def _register(api: ConnectApi, config: Config, database_url: str, deadline: float) -> bool:
    """Set the connector's configuration; return whether it changed."""
    now_ms = time.time_ns() // 1_000_000
    current = api.config(CONNECTOR)
    if current is None:
        capture = first_capture(now_ms)
        register_stopped(api, CONNECTOR, config, capture)
        current = {**config, **capture.settings}
    # The offset first: the log only grows.
    offset_lsn = api.offset_lsn(CONNECTOR)
    with connected(database_url) as connection:
        server, slot = read_position(connection), read_slot(connection)
        reason = replacement(current, offset_lsn, server)
        is_ahead = slot is not None and slot.behind < 0
        if reason is None and is_ahead:
            reason = slot_problem(slot, connection.info.dbname)
        if reason is not None:
            capture = next_capture(current, server, reason, now_ms)
            # A first epoch starts with the slot as it is.
            prepare = [partial(recreate_slot, connection)] if is_ahead or capture.reason else []
            start_epoch(api, CONNECTOR, config, capture, *prepare)
            return True
    config = {**config, **current_capture(current, server).settings}
    if current == {**config, "name": CONNECTOR}:
        return False
    api.put_config(CONNECTOR, config)
    # Running tasks of the old configuration would look like tasks of the new one.
    api.stop(CONNECTOR)
    with suppress(TimeoutError):
        _wait(lambda: not api.state(CONNECTOR).tasks, deadline)
    return True


def _wait_until_captured(api: ConnectApi, database_url: str, deadline: float) -> ConnectorState:
    """Wait until the task runs and reads the slot, and return its state.

    The task has the state RUNNING even before Debezium reads the slot. A failed task is restarted
    once.
    """
    database = urlsplit(database_url).path[1:]
    state = api.state(CONNECTOR)
    problem = ""
    restarted = False

    def is_captured() -> bool:
        nonlocal state, problem, restarted
        state = api.state(CONNECTOR)
        if state.failed and restarted:
            raise PlatformError(f"{CONNECTOR}: {explain(state.trace)}")
        if state.failed:
            restarted = True
            _restart(api, deadline)
        if not state.running:
            problem = f"{CONNECTOR} does not run: {state}"
            return False
        with connected(database_url) as connection:
            slot = read_slot(connection)
        reason = reader_problem(slot) or slot_problem(slot, database)
        problem = f"{CONNECTOR}: {reason or 'runs but does not read its replication slot'}"
        return reason is None and slot is not None and slot.held_by is not None

    try:
        _wait(is_captured, deadline)
    except TimeoutError:
        raise PlatformError(f"{problem}; see `diabetes logs connect`") from None
    return state


def _restart(api: ConnectApi, deadline: float) -> None:
    """Restart what has failed, and wait until the state changes, because that is asynchronous."""
    api.restart_failed(CONNECTOR)
    restart_deadline = min(deadline, time.monotonic() + _RESTART_TIMEOUT)
    with suppress(TimeoutError):
        _wait(lambda: not api.state(CONNECTOR).failed, restart_deadline)


def _wait(condition: Callable[[], bool], deadline: float) -> None:
    wait_until(condition, timeout=deadline - time.monotonic(), interval=_INTERVAL)


def _setup(settings: PlatformSettings, secrets: SetupSettings) -> str:
    password = plain_passwords(secrets.role_passwords)[DEBEZIUM.name]
    server = settings.require("postgres_server")
    url = connection_url(DEBEZIUM.name, password, server, WAREHOUSE_DATABASE)
    state, changed = setup_connector(settings.require("connect_url"), url)
    return f"connector: {state}{', changed' if changed else ''}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
