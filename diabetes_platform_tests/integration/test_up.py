"""The output of `make up`, `status` and `logs` on the running platform."""

import re
import socket
from pathlib import Path

import pytest

from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import memory, supervised_processes
from diabetes_platform.local.supervisor import ProcessState, Supervisor
from diabetes_platform.settings import PlatformSettings, Port
from diabetes_platform_tests.commands import command, finish, free_offset

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GIB = 2**30


def test_status_shows_every_healthy_service_with_its_url(stack: Stack) -> None:
    code, output = finish(command(stack.base_settings, "status"))
    assert code == 0, output
    for process in Supervisor(stack.layout).processes() or ():
        if not process.one_shot:
            assert re.search(rf"│ {process.name} .*healthy", output), process.name
    assert re.search(r"connector diabetes-cdc .*RUNNING, task RUNNING", output)
    assert f"http://127.0.0.1:{stack.port(Port.FLINK)}" in output


def test_all_services_together_use_less_than_three_gibibytes(stack: Stack) -> None:
    processes = Supervisor(stack.layout).processes()
    assert processes is not None
    assert sum(memory(process.pid) for process in processes) < 3 * GIB


def test_a_second_start_changes_nothing(stack: Stack) -> None:
    supervisor = Supervisor(stack.layout)

    def services() -> set[ProcessState]:
        return {process for process in supervisor.processes() or () if not process.one_shot}

    initial = services()
    code, output = finish(command(stack.base_settings, "up"))
    assert code == 0, output
    assert "the platform already runs" in output
    assert services() == initial


def test_logs_shows_a_log_and_lists_the_logs_for_an_unknown_service(stack: Stack) -> None:
    code, output = finish(command(stack.base_settings, "logs", "postgres", "--lines", "50"))
    assert (code, "database system is ready" in output) == (0, True), output
    code, output = finish(command(stack.base_settings, "logs", "redis"))
    assert code == 3
    assert re.search(r"no log of redis; available: .*kafka.*postgres", output)


def test_the_demo_does_not_start_in_the_home_of_a_running_platform(stack: Stack) -> None:
    code, output = finish(command(stack.base_settings, "demo", "--once"))
    assert code == 3
    assert "the platform already runs in" in output


def test_every_port_in_use_is_reported_with_its_process(tmp_path: Path) -> None:
    settings = PlatformSettings(home=tmp_path, port_offset=free_offset())
    with socket.socket() as first, socket.socket() as second:
        for listener, port in ((first, Port.KAFKA), (second, Port.FLINK)):
            listener.bind(("127.0.0.1", settings.port(port)))
            listener.listen()
        code, output = finish(command(settings, "up"))
    assert code == 3
    for port in (Port.KAFKA, Port.FLINK):
        assert re.search(rf"port {settings.port(port)} is in use by \S+ \(pid \d+\)", output)
    assert supervised_processes(Stack(settings).layout.home) == []
