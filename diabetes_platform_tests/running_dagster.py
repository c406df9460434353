"""Dagster for tests, as on the whole platform: code server, webserver, daemon, output on S3."""

import dataclasses
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

from diabetes_platform.local.child_server import (
    RunningServer,
    Server,
    start,
    stop_all,
    wait_until_ready,
)
from diabetes_platform.local.dagster.client import LOCATION, REPOSITORY, DagsterClient
from diabetes_platform.local.dagster.instance_config import INSTANCE_FILE, INSTANCE_NAME
from diabetes_platform.local.dagster.server import code_server, daemon, webserver
from diabetes_platform.local.environment import child_environment
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.settings import PlatformSettings, inherited_environment
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.commands import free_offset
from diabetes_platform_tests.storage import Storage

SCHEDULE = "batch_schedule"
READY_SECONDS = 120.0
_SELECTOR = {
    "repositoryLocationName": LOCATION,
    "repositoryName": REPOSITORY,
    "scheduleName": SCHEDULE,
}
_FIND_SCHEDULE = """
query ($selector: ScheduleSelector!) {
  scheduleOrError(scheduleSelector: $selector) {
    __typename
    ... on Schedule {
      scheduleState { id status ticks(limit: 10) { status timestamp runIds error { message } } }
    }
  }
}
"""
_START_SCHEDULE = """
mutation ($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) { __typename }
}
"""
_STOP_SCHEDULE = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
_OUTPUT = "query ($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"


@dataclasses.dataclass
class RunningDagster:
    """The processes by name; `instance` reads the event log."""

    settings: PlatformSettings
    environment: Mapping[str, str]
    instance: dg.DagsterInstance
    running: dict[str, RunningServer] = dataclasses.field(default_factory=dict)

    @property
    def client(self) -> DagsterClient:
        return DagsterClient(self.settings.dagster)

    @property
    def log(self) -> Path:
        return HomeLayout.of(self.settings).log("batch")

    def start(self, service: Server) -> None:
        layout = HomeLayout.of(self.settings)
        self.running[service.name] = start(service, layout, self.environment)

    def start_code_server(self) -> None:
        self.start(code_server(self.settings, HomeLayout.of(self.settings)))
        wait_until_ready(self.running["dagster-code"], READY_SECONDS)

    def workers(self) -> list[psutil.Process]:
        """Return the processes of runs that the code server has started."""
        return run_processes(self.running["dagster-code"].process.pid)

    def schedule(self) -> dict[str, object]:
        answer = self.client.query(_FIND_SCHEDULE, selector=_SELECTOR)["scheduleOrError"]
        assert answer["__typename"] == "Schedule", answer
        state: dict[str, object] = answer["scheduleState"]
        return state

    def turn_schedule_on(self) -> None:
        answer = self.client.query(_START_SCHEDULE, selector=_SELECTOR)
        assert answer["startSchedule"]["__typename"] == "ScheduleStateResult", answer

    def turn_schedule_off(self) -> None:
        answer = self.client.query(_STOP_SCHEDULE, id=self.schedule()["id"])
        assert answer["stopRunningSchedule"]["__typename"] == "ScheduleStateResult", answer

    def output(self, key: list[str]) -> dict[str, str | None]:
        """Return stdout and stderr as the UI shows them."""
        shown: dict[str, str | None] = self.client.query(_OUTPUT, key=key)["capturedLogs"]
        return shown


@contextmanager
def running_dagster(
    home: Path, postgres: Postgres, storage: Storage, **variables: str
) -> Iterator[RunningDagster]:
    """Start Dagster with its own databases and the schedule switched off; stop it afterwards."""
    settings = PlatformSettings(home=home, port_offset=free_offset())
    warehouse, events = (postgres.create_database(f"test_{secrets.token_hex(6)}") for _ in "we")
    upgrade(warehouse)
    environment = child_environment(
        settings,
        {
            "PLATFORM_WAREHOUSE_URL": warehouse,
            "DAGSTER_POSTGRES_URL": events,
            **storage.environment("pipeline"),
            **variables,
        },
        inherited=inherited_environment(),
    )
    layout = HomeLayout.of(settings)
    for directory in (layout.dagster, layout.temporary):
        directory.mkdir(parents=True)
    (layout.dagster / INSTANCE_NAME).symlink_to(INSTANCE_FILE)
    with _event_log(home / "reader", events) as instance:
        dagster = RunningDagster(settings, environment, instance)
        try:
            dagster.start_code_server()
            dagster.start(webserver(settings, layout))
            wait_until_ready(dagster.running["dagster-webserver"], READY_SECONDS)
            # Before the daemon starts, which would run it.
            dagster.turn_schedule_off()
            dagster.start(daemon(layout))
            yield dagster
        finally:
            stop_all(list(dagster.running.values()))


def run_processes(code_server: int) -> list[psutil.Process]:
    """Return the processes of active runs: the children of the fork server."""
    fork_servers = [
        child
        for child in psutil.Process(code_server).children()
        if "multiprocessing.forkserver" in " ".join(child.cmdline())
    ]
    return [run for fork_server in fork_servers for run in fork_server.children()]


def kill(running: RunningServer) -> None:
    """Kill a process, but not its children."""
    running.process.kill()
    running.process.wait()


@contextmanager
def _event_log(directory: Path, url: str) -> Iterator[dg.DagsterInstance]:
    """Yield an instance that reads its storage from a file instead of the environment."""
    directory.mkdir()
    (directory / "dagster.yaml").write_text(
        f"storage:\n  postgres:\n    postgres_url: {url}\ntelemetry:\n  enabled: false\n"
    )
    with dg.DagsterInstance.from_config(str(directory)) as instance:
        yield instance
