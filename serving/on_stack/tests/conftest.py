"""The running platform's address, and a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from serving.tests.browser import running_chromium

# Predictions come through services that share the machine with other tests.
expect.set_options(timeout=30_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the address of the API; the tests do not start a server."""
    parser.addoption("--api", required=True, help="base URL of the running platform's API")


@pytest.fixture(scope="session")
def api(pytestconfig: pytest.Config) -> str:
    """Return the address of the API and its page."""
    address: str = pytestconfig.getoption("--api")
    return address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a real Chromium."""
    with running_chromium() as started:
        yield started
