"""Servers as child processes: readiness, early ends, stopping them together."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.api.server import api_server
from diabetes_platform.local.child_server import (
    Server,
    start,
    stop_all,
    wait_until_ready,
)
from diabetes_platform.local.dagster.server import code_server, daemon, webserver
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST, free_port, require_free
from diabetes_platform.settings import PlatformSettings

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def http_server(port: int, *, path: str = "/") -> Server:
    """A real HTTP server: `/` answers 200, any other path 404."""
    command = (sys.executable, "-m", "http.server", str(port), "--bind", HOST)
    return Server("files", command, port, f"http://{HOST}:{port}{path}")


@pytest.fixture
def layout(tmp_path: Path) -> HomeLayout:
    return HomeLayout(tmp_path)


def test_servers_listen_on_localhost_at_the_offset_ports(layout: HomeLayout) -> None:
    settings = PlatformSettings(home=layout.home, port_offset=200)
    server, ui = api_server(settings, layout), webserver(settings, layout)
    assert (server.port, ui.port) == (4201, 3200)
    assert (server.ready_url, ui.ready_url) == (
        "http://127.0.0.1:4201/ready",
        "http://127.0.0.1:3200/server_info",
    )
    assert ui.command[-2:] == ("-p", "3200")
    assert daemon(layout).port is None
    code = code_server(settings, layout)
    assert (code.port, code.command[-2:]) == (4466, ("--port", "4466"))


def test_waits_for_the_port_of_a_server_without_http(layout: HomeLayout) -> None:
    listening = start(replace(http_server(free_port()), ready_url=None), layout, ENVIRONMENT)
    wait_until_ready(listening, 20)
    stop_all([listening])
    silent = Server("code", ("/bin/sleep", "60"), free_port())
    running = start(silent, layout, ENVIRONMENT)
    with pytest.raises(PlatformError, match=r"code was not ready after 1 s: nothing listens on"):
        wait_until_ready(running, 1)
    stop_all([running])


def test_starts_waits_for_and_stops_a_server(layout: HomeLayout) -> None:
    port = free_port()
    running = start(http_server(port), layout, ENVIRONMENT)
    wait_until_ready(running, 20)
    stop_all([running])
    assert running.process.poll() is not None
    require_free(port, "files")
    assert (layout.home / "logs" / "files.log").exists()


def test_reports_the_last_answer_of_a_server_that_is_not_ready(layout: HomeLayout) -> None:
    running = start(http_server(free_port(), path="/none"), layout, ENVIRONMENT)
    with pytest.raises(PlatformError, match=r"files was not ready after 2 s: it answers 404"):
        wait_until_ready(running, 2)
    stop_all([running])


def test_reports_a_server_that_ends(layout: HomeLayout) -> None:
    dying = Server(
        "api", ("/bin/sh", "-c", "echo no contract; exit 7"), None, f"http://{HOST}:{free_port()}/"
    )
    running = start(dying, layout, ENVIRONMENT)
    with pytest.raises(PlatformError, match="api ended with code 7: no contract"):
        wait_until_ready(running, 20)


def test_names_a_missing_program_and_the_remedy(layout: HomeLayout) -> None:
    with pytest.raises(PlatformError, match=r"api: /none/python is missing: run `make demo`"):
        start(Server("api", ("/none/python",)), layout, ENVIRONMENT)
