"""A model store in a directory, and the API on it: in this process, or as a real server."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn
from playwright.sync_api import Browser, Page
from pydantic import SecretStr
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from diabetes_platform_tests.grown_contract import migration_hint
from serving.app.main import create_app
from serving.app.served_model import ServedModel, open_model
from serving.app.settings import ServingSettings
from serving.tests.browser import VIEWPORTS, ConsoleErrors, running_chromium
from serving.tests.bundles import champion_of, make_bundle, release
from serving.tests.clients import wait_until
from serving.tests.warehouse import Warehouse, running_warehouse

POLL_SECONDS = 0.02

StartServer = Callable[[], AbstractContextManager[httpx2.Client]]


@pytest.fixture(scope="session", autouse=True)
def _no_platform_variables() -> Iterator[None]:
    """Remove the caller's settings, so that they change no test and no process of a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("PLATFORM_", "AWS_")):
                patch.delenv(name)
        yield


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty PLATFORM_HOME."""
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Path:
    """Return the root of the model store, which does not exist yet."""
    return home / "models"


@pytest.fixture
def settings(home: Path) -> ServingSettings:
    """Return settings without a database."""
    return ServingSettings(home=home, model_poll_seconds=POLL_SECONDS, api_max_body_bytes=400_000)


@pytest.fixture
def released(store: Path) -> ServedModel:
    """Return the store's champion, already open, so that it needs no subprocess."""
    bundle, files = make_bundle()
    release(store, bundle, files)
    return open_model(champion_of(bundle), files)


@pytest.fixture
def client(settings: ServingSettings, released: ServedModel) -> Iterator[TestClient]:
    """Return a client of the API with a released model."""
    app = create_app(settings, model=released)
    with TestClient(app, raise_server_exceptions=False) as test_client:
        wait_until(lambda: test_client.get("/ready").json()["problem"] is None)
        yield test_client


@pytest.fixture
def empty_client(settings: ServingSettings) -> Iterator[TestClient]:
    """Return a client of the API whose model store is empty."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as test_client:
        wait_until(lambda: "nothing released" in test_client.get("/ready").json()["detail"])
        yield test_client


@pytest.fixture
def start_server(settings: ServingSettings) -> StartServer:
    """Return a function that runs the API on uvicorn in a thread, on a free port."""
    return lambda: running(create_app(settings))


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Return a real PostgreSQL with the platform's tables and roles, shared by all tests."""
    if (hint := migration_hint()) is not None:
        pytest.skip(hint)
    with running_warehouse(tmp_path_factory.mktemp("warehouse")) as started:
        yield started


@pytest.fixture
def intake_settings(settings: ServingSettings, warehouse: Warehouse) -> ServingSettings:
    """Return settings with a database and a short heartbeat."""
    changes = {"database_url": SecretStr(warehouse.api), "api_heartbeat_seconds": 0.3}
    return settings.model_copy(update=changes)


@pytest.fixture
def intake(intake_settings: ServingSettings, released: ServedModel) -> Iterator[httpx2.Client]:
    """Return a client of a real server with a model and a database."""
    with running(create_app(intake_settings, model=released)) as http_client:
        yield http_client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a real Chromium; while it runs no other test may run an event loop."""
    with running_chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, intake: httpx2.Client) -> Iterator[Page]:
    """Return the wide intake page; it must not report an error in the console."""
    context = browser.new_context(base_url=str(intake.base_url), viewport=VIEWPORTS[1440])
    new_page = context.new_page()
    errors = ConsoleErrors(new_page)
    new_page.goto("/")
    yield new_page
    context.close()
    assert errors.messages == []


@contextmanager
def running(app: ASGIApp, *, port: int | None = None) -> Iterator[httpx2.Client]:
    """Run `app` on uvicorn in a thread, on `port` or a free one."""
    port = port or free_port()
    server = uvicorn.Server(
        # Only a signal ends the event streams, and a thread does not get signals.
        uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        wait_until(lambda: server.started)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http_client:
            yield http_client
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
