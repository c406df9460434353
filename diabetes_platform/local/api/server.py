"""The API as a child process of `diabetes demo`."""

from diabetes_platform.local.child_server import Server
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port


def api_server(settings: PlatformSettings, layout: HomeLayout) -> Server:
    """Return the prediction API, which runs in its own environment without Spark and Dagster."""
    port = settings.port(Port.API)
    command = (str(layout.serving_python), "-m", "serving.app")
    return Server("api", command, port, f"http://{HOST}:{port}/ready")
