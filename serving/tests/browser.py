"""A real headless Chromium for the tests: the machine's own, driven by Playwright.

Playwright would download a browser from its own host; a distribution's package is signed.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from serving.app.settings import PROJECT_ROOT
from serving.tests.samples import PATIENT_FORM

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VIEWPORTS = {360: {"width": 360, "height": 740}, 1440: {"width": 1440, "height": 900}}
VARIANTS = [(width, scheme) for width in VIEWPORTS for scheme in ("light", "dark")]
"""Each width with each color scheme."""
ARTEFACTS = PROJECT_ROOT / ".platform" / "test-artifacts" / "page"
SERIOUS = {"serious", "critical"}


class NoBrowserError(RuntimeError):
    """This machine has no Chromium."""


def chromium() -> str:
    """Return the path of the machine's Chromium; raise NoBrowserError with installation help."""
    for name in EXECUTABLES:
        path = shutil.which(name)
        if path:
            return path
    raise NoBrowserError(
        f"none of {', '.join(EXECUTABLES)} is on PATH: install Chromium "
        "(Debian: apt-get install chromium; Fedora: dnf install chromium)"
    )


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run one browser within the block."""
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work as root in a container.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        try:
            yield browser
        finally:
            browser.close()


class ConsoleErrors:
    """The errors of a page's scripts and of its content security policy."""

    def __init__(self, page: Page) -> None:
        self.messages: list[str] = []
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium reports an error response to a form as a failed load: the tests expect those.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.messages.append(message.text)


def take_screenshot(page: Page, directory: Path, name: str) -> Path:
    """Write a screenshot of the whole page; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    return path


def fill_in(page: Page, **changes: str) -> None:
    """Type the example patient with `changes` into the form."""
    for name, value in PATIENT_FORM.items():
        page.fill(f"#{name}", changes.get(name, value))


def submit(page: Page) -> None:
    """Send the form."""
    page.get_by_role("button", name="Predict risk").click()


def patient_of(page: Page) -> int:
    """Wait for a patient's page; return the patient's id."""
    page.wait_for_url("**/intake/*")
    return int(page.url.rpartition("/")[2])


def accessibility_violations(page: Page) -> list[str]:
    """Return the serious violations that axe reports."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {[node['target'] for node in violation['nodes']]}"
        for violation in violations
        if violation["impact"] in SERIOUS
    ]
