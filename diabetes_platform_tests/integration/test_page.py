"""The page of the whole platform in a real browser, tested from the serving environment."""

import subprocess
from collections.abc import Iterator

import pytest

from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PROJECT_ROOT, Port
from diabetes_platform_tests.capture import TOOLS
from diabetes_platform_tests.released_model import released
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def model(storage: Storage) -> Iterator[None]:
    with released(storage):
        yield


@pytest.mark.slow
def test_the_page_shows_results_from_the_stream_in_a_real_browser(stack: Stack) -> None:
    # Playwright is in the serving environment only.
    python = str(HomeLayout(TOOLS).serving_python)
    command = [python, "-m", "pytest", "on_stack/tests", "-q", "--api", stack.url(Port.API)]
    completed = subprocess.run(
        command,
        cwd=PROJECT_ROOT / "serving",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout
    assert "6 passed" in completed.stdout
