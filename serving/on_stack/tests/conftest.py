"""The running platform's address, and a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from serving.tests.browsers import running_chromium

# What the page shows has come through services that share the machine with other tests.
expect.set_options(timeout=30_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Ask for the address: nothing here starts a server."""
    parser.addoption("--api", required=True, help="base URL of the running platform's API")


@pytest.fixture(scope="session")
def api(pytestconfig: pytest.Config) -> str:
    """Return the address of the page and the API."""
    address: str = pytestconfig.getoption("--api")
    return address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a real Chromium."""
    with running_chromium() as started:
        yield started
