"""A real headless Chromium for the tests: the machine's own, driven by Playwright.

Playwright would fetch a browser from its own host; a distribution's package is as good and signed.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from serving.app.settings import PROJECT_ROOT
from serving.app.validation import EXAMPLE_PATIENT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZES = {360: {"width": 360, "height": 740}, 1440: {"width": 1440, "height": 900}}

LOOKS = [(width, scheme) for width in SIZES for scheme in ("light", "dark")]
ARTEFACTS = PROJECT_ROOT / ".platform" / "test-artifacts" / "page"
SERIOUS = {"serious", "critical"}


class NoBrowserError(RuntimeError):
    """There is no Chromium on this machine."""


def chromium() -> str:
    """Return the path of the machine's Chromium; NoBrowserError that says how to get it."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    raise NoBrowserError(
        f"none of {', '.join(NAMES)} is on PATH: install it "
        "(Debian: apt-get install chromium; Fedora: dnf install chromium)"
    )


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run one browser within the block."""
    with sync_playwright() as playwright:
        # As root, in a container, Chromium's own sandbox cannot be set up.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """What a page complained about: errors of scripts and of the content security policy."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._console)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium reports each refused form as a failed load: those the tests ask for.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


def shoot(page: Page, directory: Path, name: str) -> None:
    """Keep a picture of the whole page."""
    directory.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=directory / f"{name}.png", full_page=True)


def fill_in(page: Page, **changed: str) -> None:
    """Type the example into the form, `changed` fields otherwise."""
    for name, value in EXAMPLE_PATIENT.items():
        page.fill(f"#{name}", changed.get(name, f"{value:g}"))


def ask(page: Page) -> None:
    """Send the form."""
    page.get_by_role("button", name="Predict risk").click()


def patient_of(page: Page) -> int:
    """Return the patient whose page is shown, once it is."""
    page.wait_for_url("**/intake/*")
    return int(page.url.rpartition("/")[2])


def serious(page: Page) -> list[str]:
    """Return axe's serious findings."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {[node['target'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in SERIOUS
    ]
