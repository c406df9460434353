"""The intake page of the whole platform in a real browser; the stream makes the predictions."""

import re
from contextlib import ExitStack

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from diabetes_platform.contract.fields import FEATURES
from serving.app.settings import PROJECT_ROOT
from serving.tests.browser import (
    VARIANTS,
    VIEWPORTS,
    ConsoleErrors,
    accessibility_violations,
    fill_in,
    patient_of,
    submit,
    take_screenshot,
)
from serving.tests.samples import PATIENT, patient

ARTEFACTS = PROJECT_ROOT / ".platform" / "test-artifacts" / "page-on-the-stack"
CONCURRENT_PAGES = 10
PREDICTION_TIMEOUT_MS = 60_000
"""A prediction takes less than a second on an idle machine."""


@pytest.fixture(scope="module")
def answered(browser: Browser, api: str) -> str:
    """Return the address of a patient with a prediction."""
    context = browser.new_context(base_url=api, viewport=VIEWPORTS[1440])
    page = context.new_page()
    page.goto("/")
    fill_in(page)
    submit(page)
    patient_of(page)
    expect(page.locator(".verdict")).to_be_visible(timeout=PREDICTION_TIMEOUT_MS)
    address = page.url
    context.close()
    return address


def probability_of(api: str, measurements: dict[str, float]) -> str:
    """Return the API's prediction for the same measurements, as the page formats it."""
    with httpx2.Client(base_url=api, trust_env=False) as client:
        probability: float = client.post("/predict", json=measurements).json()["probability"]
    return f"{100 * probability:.1f} %"


def test_a_prediction_of_the_stream_appears_without_a_reload(browser: Browser, api: str) -> None:
    context = browser.new_context(base_url=api, viewport=VIEWPORTS[1440])
    page = context.new_page()
    errors = ConsoleErrors(page)
    page.goto("/")
    page.evaluate("window.neverReloaded = true")
    fill_in(page)
    submit(page)
    patient_id = patient_of(page)
    expect(page.locator(".verdict")).to_be_visible(timeout=PREDICTION_TIMEOUT_MS)
    expect(page.locator("#answer-title")).to_have_text(f"Patient {patient_id}")
    expect(page.locator(".probability")).to_have_text(probability_of(api, PATIENT))
    latencies = [cell.text_content() or "" for cell in page.locator(".steps td.number").all()]
    assert len(latencies) == 6
    assert all(re.fullmatch(r"\d+\.\d", text.strip()) for text in latencies), latencies
    assert page.locator(".shares tbody tr").count() == len(FEATURES)
    page.get_by_label("No diabetes").check()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("button", name="Correct")).to_be_visible()
    expect(page.locator("#recent li").first).to_contain_text("outcome recorded")
    assert page.evaluate("window.neverReloaded") is True
    assert errors.messages == []
    context.close()


def test_ten_concurrent_pages_each_show_their_own_prediction(browser: Browser, api: str) -> None:
    samples = [patient(glucose=80 + 12 * n, age=25 + n) for n in range(CONCURRENT_PAGES)]
    with ExitStack() as stack:
        pages: list[Page] = []
        for sample in samples:
            context = stack.enter_context(browser.new_context(base_url=api))
            pages.append(context.new_page())
            pages[-1].goto("/")
            fill_in(pages[-1], glucose=f"{sample['glucose']}", age=f"{sample['age']}")
        for page in pages:
            submit(page)
        ids = [patient_of(page) for page in pages]
        assert len(set(ids)) == CONCURRENT_PAGES
        for page, patient_id, sample in zip(pages, ids, samples, strict=True):
            expect(page.locator(".verdict")).to_be_visible(timeout=PREDICTION_TIMEOUT_MS)
            expect(page.locator("#answer-title")).to_have_text(f"Patient {patient_id}")
            expect(page.locator(".probability")).to_have_text(probability_of(api, sample))


@pytest.mark.parametrize(("width", "scheme"), VARIANTS)
def test_the_page_of_a_prediction_is_accessible_and_fits_the_viewport(
    browser: Browser, answered: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport=VIEWPORTS[width],
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(answered)
    expect(page.locator(".verdict")).to_be_visible()
    assert accessibility_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    take_screenshot(page, ARTEFACTS, f"answer-{width}-{scheme}")
    context.close()
