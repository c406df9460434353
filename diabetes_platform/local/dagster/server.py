"""Dagster's processes as child processes of `diabetes demo` and of tests."""

from diabetes_platform.local.child_server import Server
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port


def code_server(settings: PlatformSettings, layout: HomeLayout) -> Server:
    """Return the code server, which the webserver and the daemon share."""
    port = settings.port(Port.DAGSTER_CODE)
    module = "diabetes_platform.local.dagster.code_server"
    command = (layout.program("python"), "-m", module, "--port", str(port))
    return Server("dagster-code", command, port)


def webserver(settings: PlatformSettings, layout: HomeLayout) -> Server:
    """Return the webserver with Dagster's UI."""
    port = settings.port(Port.DAGSTER)
    command = (layout.program("dagster-webserver"), "-w", str(layout.workspace), "-h", HOST)
    # Otherwise the webserver reuses connections from before a restart of the database.
    recycle = ("--db-pool-recycle", "1")
    ready = f"http://{HOST}:{port}/server_info"
    return Server("dagster-webserver", (*command, *recycle, "-p", str(port)), port, ready)


def daemon(layout: HomeLayout) -> Server:
    """Return the daemon: schedules, sensors, run queue and run monitoring."""
    command = (layout.program("dagster-daemon"), "run", "-w", str(layout.workspace))
    return Server("dagster-daemon", command)
