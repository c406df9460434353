"""A model store in a folder, and the API on it: in this process, or as a real server."""

import asyncio
import socket
import threading
import time
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

from diabetes_platform.contract.fields import fingerprint
from serving.app.main import create_app
from serving.app.served_model import ServedModel, open_model
from serving.app.settings import ServingSettings
from serving.tests.browsers import SIZES, Watched, running_chromium
from serving.tests.bundles import champion_of, make_bundle, release
from serving.tests.warehouse import Warehouse, running_warehouse

POLL_SECONDS = 0.02

Start = Callable[[], AbstractContextManager[httpx2.Client]]


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
    """Return settings that no environment variable changes."""
    return ServingSettings(home=home, model_poll_seconds=POLL_SECONDS, api_max_body_bytes=400_000)


@pytest.fixture
def released(store: Path) -> ServedModel:
    """Return the model that is the store's champion, open: it needs no trial."""
    bundle, files = make_bundle()
    release(store, bundle, files)
    return open_model(champion_of(bundle), files, contract_fingerprint=fingerprint())


@pytest.fixture
def client(settings: ServingSettings, released: ServedModel) -> Iterator[TestClient]:
    """Return a client of the API with a released model."""
    app = create_app(settings, model=released)
    with TestClient(app, raise_server_exceptions=False) as opened:
        wait_for(lambda: opened.get("/ready").json()["problem"] is None)
        yield opened


@pytest.fixture
def empty_client(settings: ServingSettings) -> Iterator[TestClient]:
    """Return a client of the API whose model store is empty."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as opened:
        wait_for(lambda: "nothing released" in opened.get("/ready").json()["detail"])
        yield opened


@pytest.fixture
def serve(settings: ServingSettings) -> Start:
    """Return a function that runs the API on uvicorn in a thread, on a free port."""
    return lambda: running(create_app(settings))


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Return a real PostgreSQL with the platform's tables and roles, shared by all tests."""
    with running_warehouse(tmp_path_factory.mktemp("warehouse")) as made:
        yield made


@pytest.fixture
def intake_settings(settings: ServingSettings, warehouse: Warehouse) -> ServingSettings:
    """Return settings with a database, and a heartbeat that a test can wait for."""
    more = {"database_url": SecretStr(warehouse.api), "api_heartbeat_seconds": 0.3}
    return settings.model_copy(update=more)


@pytest.fixture
def intake(intake_settings: ServingSettings, released: ServedModel) -> Iterator[httpx2.Client]:
    """Return a client of a real server with a model and a database."""
    with running(create_app(intake_settings, model=released)) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a real Chromium; while it runs no other test may run an event loop."""
    with running_chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, intake: httpx2.Client) -> Iterator[Page]:
    """Return the page, wide; it must not complain."""
    context = browser.new_context(base_url=str(intake.base_url), viewport=SIZES[1440])
    opened = context.new_page()
    watched = Watched(opened)
    opened.goto("/")
    yield opened
    context.close()
    assert watched.complaints == []


@contextmanager
def running(app: ASGIApp, *, port: int | None = None) -> Iterator[httpx2.Client]:
    """Run `app` on uvicorn in a thread, on a free port unless one is named."""
    port = port or free_port()
    server = uvicorn.Server(
        # Nobody but a signal ends the streams, and a thread hears none.
        uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        wait_for(lambda: server.started)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as opened:
            yield opened
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return once `condition` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
