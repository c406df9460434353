"""Services: known to be ready by their answer, told apart from a dead one, stopped as a group."""

import sys
from pathlib import Path

import pytest

from diabetes_platform.local import demo_services as services
from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.ports import HOST, free_port, require_free
from diabetes_platform.settings import PlatformSettings

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def http_service(port: int, *, path: str = "/") -> services.Service:
    """A real HTTP server: `/` answers 200, any other path 404."""
    command = (sys.executable, "-m", "http.server", str(port), "--bind", HOST)
    return services.Service("files", command, port, f"http://{HOST}:{port}{path}")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_all_listen_on_this_machine_at_the_moved_ports(layout: Layout) -> None:
    settings = PlatformSettings(home=layout.home, port_offset=200)
    api, ui = services.api(settings, layout), services.webserver(settings, layout)
    assert (api.port, ui.port) == (4201, 3200)
    assert (api.ready_url, ui.ready_url) == (
        "http://127.0.0.1:4201/ready",
        "http://127.0.0.1:3200/server_info",
    )
    assert ui.command[-2:] == ("-p", "3200")
    assert services.daemon(layout).port is None
    code = services.code_server(settings, layout)
    assert (code.port, code.command[-2:]) == (4466, ("--port", "4466"))


def test_a_service_that_speaks_no_http_is_awaited_at_its_port(layout: Layout) -> None:
    listening = services.start(http_service(free_port()), layout, ENVIRONMENT)
    services.wait_until_listening(listening, 20)
    services.stop_all([listening])
    silent = services.Service("code", ("/bin/sleep", "60"), free_port())
    running = services.start(silent, layout, ENVIRONMENT)
    with pytest.raises(LauncherError, match=r"code was not ready after 1 s: nothing listens on"):
        services.wait_until_listening(running, 1)
    services.stop_all([running])


def test_a_service_is_started_awaited_and_stopped(layout: Layout) -> None:
    port = free_port()
    running = services.start(http_service(port), layout, ENVIRONMENT)
    services.wait_until_ready(running, 20)
    services.stop_all([running])
    assert running.process.poll() is not None
    require_free(port, "files")
    assert (layout.home / "logs" / "files.log").exists()


def test_a_service_without_a_port_has_nothing_to_wait_for(layout: Layout) -> None:
    running = services.start(services.Service("sleeper", ("/bin/sleep", "60")), layout, ENVIRONMENT)
    services.wait_until_ready(running, 0)
    services.stop_all([running])


def test_the_last_answer_is_told_when_it_does_not_become_ready(layout: Layout) -> None:
    running = services.start(http_service(free_port(), path="/none"), layout, ENVIRONMENT)
    with pytest.raises(LauncherError, match=r"files was not ready after 2 s: it answers 404"):
        services.wait_until_ready(running, 2)
    services.stop_all([running])


def test_a_service_that_ends_is_reported_at_once(layout: Layout) -> None:
    dying = services.Service(
        "api", ("/bin/sh", "-c", "echo no contract; exit 7"), None, f"http://{HOST}:{free_port()}/"
    )
    running = services.start(dying, layout, ENVIRONMENT)
    with pytest.raises(LauncherError, match="api ended with code 7: no contract"):
        services.wait_until_ready(running, 20)


def test_a_missing_program_is_named_with_the_remedy(layout: Layout) -> None:
    with pytest.raises(LauncherError, match=r"api: /none/python is missing: run `make demo`"):
        services.start(services.Service("api", ("/none/python",)), layout, ENVIRONMENT)
