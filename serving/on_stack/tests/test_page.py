"""The page on the whole platform in a real browser: each answer comes through the stream."""

import re
from contextlib import ExitStack

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from diabetes_platform.contract.fields import FEATURES
from serving.app.settings import PROJECT_ROOT
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.browsers import (
    LOOKS,
    SIZES,
    Watched,
    ask,
    fill_in,
    patient_of,
    serious,
    shoot,
)

ARTEFACTS = PROJECT_ROOT / ".platform" / "test-artifacts" / "page-on-the-stack"
PEOPLE = 10
ANSWER_MS = 60_000
"""A patient waits for no more than a second on a machine that does nothing else."""


@pytest.fixture(scope="module")
def answered(browser: Browser, api: str) -> str:
    """Return the address of a patient whose answer is there."""
    context = browser.new_context(base_url=api, viewport=SIZES[1440])
    page = context.new_page()
    page.goto("/")
    fill_in(page)
    ask(page)
    patient_of(page)
    expect(page.locator(".verdict")).to_be_visible(timeout=ANSWER_MS)
    address = page.url
    context.close()
    return address


def probability_of(api: str, patient: dict[str, float]) -> str:
    """Return what the API says of the same measurements, as the page writes it."""
    with httpx2.Client(base_url=api, trust_env=False) as client:
        probability: float = client.post("/predict", json=patient).json()["probability"]
    return f"{100 * probability:.1f} %"


def test_the_answer_of_the_stream_appears_without_a_reload(browser: Browser, api: str) -> None:
    context = browser.new_context(base_url=api, viewport=SIZES[1440])
    page = context.new_page()
    watched = Watched(page)
    page.goto("/")
    page.evaluate("window.neverReloaded = true")
    fill_in(page)
    ask(page)
    patient_id = patient_of(page)
    expect(page.locator(".verdict")).to_be_visible(timeout=ANSWER_MS)
    expect(page.locator("#answer-title")).to_have_text(f"Patient {patient_id}")
    expect(page.locator(".probability")).to_have_text(probability_of(api, EXAMPLE_PATIENT))
    hops = [row.text_content() or "" for row in page.locator(".steps td.number").all()]
    assert len(hops) == 6
    assert all(re.fullmatch(r"\d+\.\d", text.strip()) for text in hops), hops
    assert page.locator(".shares tbody tr").count() == len(FEATURES)
    page.get_by_label("No diabetes").check()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("button", name="Correct")).to_be_visible()
    expect(page.locator("#recent li").first).to_contain_text("outcome recorded")
    assert page.evaluate("window.neverReloaded") is True
    assert watched.complaints == []
    context.close()


def test_ten_people_at_once_each_see_their_own_answer(browser: Browser, api: str) -> None:
    patients = [{**EXAMPLE_PATIENT, "glucose": 80 + 12 * n, "age": 25 + n} for n in range(PEOPLE)]
    with ExitStack() as opened:
        pages: list[Page] = []
        for patient in patients:
            context = opened.enter_context(browser.new_context(base_url=api))
            pages.append(context.new_page())
            pages[-1].goto("/")
            fill_in(pages[-1], glucose=f"{patient['glucose']}", age=f"{patient['age']}")
        for page in pages:
            ask(page)
        people = [patient_of(page) for page in pages]
        assert len(set(people)) == PEOPLE
        for page, person, patient in zip(pages, people, patients, strict=True):
            expect(page.locator(".verdict")).to_be_visible(timeout=ANSWER_MS)
            expect(page.locator("#answer-title")).to_have_text(f"Patient {person}")
            expect(page.locator(".probability")).to_have_text(probability_of(api, patient))


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_an_answer_of_the_stream_is_accessible_and_fits(
    browser: Browser, answered: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport=SIZES[width],
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(answered)
    expect(page.locator(".verdict")).to_be_visible()
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shoot(page, ARTEFACTS, f"answer-{width}-{scheme}")
    context.close()
