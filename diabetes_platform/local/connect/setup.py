"""Sets up change data capture: registers the Debezium connector and waits until it captures."""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection

from diabetes_platform.clients.connect import ConnectApi, ConnectorState
from diabetes_platform.clients.errors import ServiceResponseError
from diabetes_platform.contract.events import CONNECTOR
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.local.connect.failures import (
    explain,
    reader_problem,
    table_problem,
)
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.connection import WAREHOUSE_DATABASE
from diabetes_platform.local.postgres.data import connection_url
from diabetes_platform.local.setup import plain_passwords, run_setup
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port, SetupSettings
from diabetes_platform.warehouse.replication import Slot, read_slot, slot_problem
from diabetes_platform.warehouse.roles import DEBEZIUM

CONNECTOR_FILE = PROJECT_ROOT / "infra" / "debezium" / f"{CONNECTOR}.json"
READY_SECONDS = 60.0
_PAUSE = 0.3
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
"""Regular expressions for whole names."""

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done to the connector, and how it is now."""

    changed: bool
    state: ConnectorState


def setup_connector(
    connect_url: str, database_url: str, file: Path = CONNECTOR_FILE, seconds: float = READY_SECONDS
) -> Outcome:
    """Give Connect at `connect_url` the connector of `file` and wait until it reads the slot.

    `database_url` is the warehouse as the role of the connector. Doing it again changes nothing;
    a paused connector goes on and what has failed is started again. Raises PlatformError that says
    why changes are not captured, ServiceError where Connect does not answer.
    """
    config = read_config(file)
    _require_tables(config, database_url)
    deadline = time.monotonic() + seconds
    with ConnectApi(connect_url) as api:
        try:
            changed = _register(api, config, deadline)
            api.resume(CONNECTOR)
            state = _wait_until_running(api, deadline)
            _wait_until_read(api, database_url, deadline)
        except ServiceResponseError as error:
            raise PlatformError(f"{CONNECTOR}: {explain(str(error))}") from error
    return Outcome(changed, state)


def read_config(file: Path = CONNECTOR_FILE) -> Config:
    """Return the connector's configuration, all of it text; raises PlatformError.

    `file`, and the contract's columns as those that are captured: what else somebody keeps in the
    table does not travel, nor stop the connector by a value that no topic takes.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PlatformError(f"{file}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise PlatformError(f"{file}: given other values, allowed an object with text values only")
    return {**content, "column.include.list": _COLUMNS}


def _require_tables(config: Config, database_url: str) -> None:
    with _connected(database_url) as connection:
        existing = dict(connection.execute(_TABLES).fetchall())
        published = connection.execute(_PUBLISHED, (config["publication.name"],))
        problem = table_problem(config, existing, [name for (name,) in published])
    if problem is not None:
        raise PlatformError(problem)


def _register(api: ConnectApi, config: Config, deadline: float) -> bool:
    """Give Connect `config` unless it has it; return whether it had another or none."""
    found = api.config(CONNECTOR)
    if found == {**config, "name": CONNECTOR}:
        return False
    api.put_config(CONNECTOR, config)
    if found is not None:
        # Tasks of the old configuration still run, and would be taken for those of the new one.
        api.stop(CONNECTOR)
        while api.state(CONNECTOR).tasks and time.monotonic() < deadline:
            time.sleep(_PAUSE)
    return True


def _wait_until_running(api: ConnectApi, deadline: float) -> ConnectorState:
    """Wait until the task runs; what has failed before is started again, once."""
    restarted = False
    while not (state := api.state(CONNECTOR)).running:
        if state.failed and restarted:
            raise PlatformError(f"{CONNECTOR}: {explain(state.trace)}")
        if state.failed:
            api.restart_failed(CONNECTOR)
            restarted = True
            _wait_while_failed(api, deadline)
        if time.monotonic() > deadline:
            raise PlatformError(f"{CONNECTOR} does not run: {state}; see `diabetes logs connect`")
        time.sleep(_PAUSE)
    return state


def _wait_while_failed(api: ConnectApi, deadline: float) -> None:
    """A restart is asked for and happens later: the old failure must not count for the new one."""
    until = min(deadline, time.monotonic() + 5.0)
    while api.state(CONNECTOR).failed and time.monotonic() < until:
        time.sleep(_PAUSE)


def _wait_until_read(api: ConnectApi, database_url: str, deadline: float) -> None:
    """Wait until Debezium reads the slot: a task is said to run while it tries that in vain."""
    while True:
        slot = _slot(database_url)
        problem = reader_problem(slot) or slot_problem(slot, urlsplit(database_url).path[1:])
        if problem is None and slot is not None and slot.held_by is not None:
            return
        state = api.state(CONNECTOR)
        if state.failed:
            raise PlatformError(f"{CONNECTOR}: {explain(state.trace)}")
        if time.monotonic() > deadline:
            problem = problem or "runs but does not read its replication slot"
            raise PlatformError(f"{CONNECTOR}: {problem}; see `diabetes logs connect`")
        time.sleep(_PAUSE)


def _slot(database_url: str) -> Slot | None:
    with _connected(database_url) as connection:
        return read_slot(connection)


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    parts = urlsplit(url)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[-1]
        where = f"{parts.hostname}:{parts.port or 5432} as {parts.username}"
        raise PlatformError(f"PostgreSQL on {where}: {reason}") from error


def _setup(settings: PlatformSettings, given: SetupSettings) -> str:
    password = plain_passwords(given.role_passwords)[DEBEZIUM.name]
    port = settings.port(Port.POSTGRES)
    url = connection_url(DEBEZIUM.name, password, port, WAREHOUSE_DATABASE)
    outcome = setup_connector(f"http://{HOST}:{settings.port(Port.CONNECT)}", url)
    return f"connector: {outcome.state}{', changed' if outcome.changed else ''}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
