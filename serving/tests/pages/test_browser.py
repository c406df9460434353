"""The intake page in a real browser: updates without a reload, keyboard use and accessibility."""

import re
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from diabetes_platform.contract.fields import FEATURES
from serving.tests.browser import (
    ARTEFACTS,
    VARIANTS,
    VIEWPORTS,
    ConsoleErrors,
    accessibility_violations,
    fill_in,
    patient_of,
    submit,
    take_screenshot,
)
from serving.tests.clients import take_in
from serving.tests.pages.test_page import SCRIPT
from serving.tests.samples import PATIENT_FORM
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

FAST_VARIANTS = ((360, "light"), (1440, "dark"))
"""Each width and each color scheme once; the other variants are slow tests."""


def test_the_prediction_appears_without_a_reload(page: Page, warehouse: Warehouse) -> None:
    page.evaluate("window.neverReloaded = true")
    fill_in(page)
    submit(page)
    patient_id = patient_of(page)
    expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    warehouse.predict(patient_id)
    expect(page.locator(".verdict")).to_have_text(re.compile(r"Diabetes\s+73\.0 %"))
    expect(page.locator("#recent li").first).to_contain_text("answered")
    expect(page.locator("#round-trip")).to_contain_text("ms from the click to this prediction")
    assert page.locator(".steps tbody tr").count() == 6
    assert page.locator(".shares tbody tr").count() == len(FEATURES)
    assert page.evaluate("window.neverReloaded") is True
    page.get_by_label("No diabetes").check()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#recent li").first).to_contain_text("outcome recorded")
    expect(page.get_by_role("button", name="Correct")).to_be_visible()
    assert page.evaluate("window.neverReloaded") is True
    page.go_back()
    page.wait_for_url("**/")
    expect(page.locator("#answer")).to_contain_text("appears here")


@pytest.mark.slow
def test_ten_concurrent_pages_each_show_their_own_prediction(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse
) -> None:
    contexts = [browser.new_context(base_url=str(intake.base_url)) for _ in range(10)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.goto("/")
        fill_in(page)
    for page in pages:
        submit(page)
    patients = [patient_of(page) for page in pages]
    assert len(set(patients)) == 10
    for page in pages:
        expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    for number, patient in reversed(list(enumerate(patients))):
        warehouse.predict(patient, probability=number / 10 + 0.01)
    for number, (page, patient) in enumerate(zip(pages, patients, strict=True)):
        expect(page.locator("#answer-title")).to_have_text(f"Patient {patient}")
        expect(page.locator(".probability")).to_have_text(f"{10 * number + 1:.1f} %")
    for context in contexts:
        context.close()


def test_errors_are_shown_at_their_inputs_and_values_are_kept(page: Page) -> None:
    fill_in(page, bmi="700", age="")
    submit(page)
    expect(page.locator("#error-summary")).to_be_focused()
    expect(page.locator("#bmi")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#bmi-error")).to_contain_text("Allowed: 10 to 100 kg/m²")
    expect(page.locator("#glucose")).to_have_value("148")
    page.locator("#error-summary").get_by_role("link", name="Age").click()
    expect(page.locator("#age")).to_be_focused()
    assert accessibility_violations(page) == []
    take_screenshot(page, ARTEFACTS, "errors")


def test_an_unreadable_number_is_not_sent_as_not_measured(page: Page, warehouse: Warehouse) -> None:
    count = warehouse.count_patients()
    fill_in(page, glucose="")
    page.locator("#glucose").press_sequentially("1e")
    submit(page)
    expect(page.locator("#glucose")).to_be_focused()
    assert warehouse.count_patients() == count


def test_the_page_can_be_used_with_the_keyboard_alone(page: Page, warehouse: Warehouse) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for field in FEATURES:
        expect(page.locator(f"#{field.name}")).to_be_focused()
        page.keyboard.type(f"{field.example:g}")
        page.keyboard.press("Tab")
    page.locator("#age").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#age")).to_have_value("51")
    page.keyboard.press("Enter")
    warehouse.predict(patient_of(page))
    expect(page.locator(".verdict")).to_be_visible()


def test_a_script_in_an_input_is_shown_as_text(page: Page) -> None:
    page.evaluate(
        "script => { const age = document.querySelector('#age'); age.type = 'text';"
        " age.value = script }",
        SCRIPT,
    )
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    submit(page)
    expect(page.locator("#age-error")).to_be_visible()
    assert page.locator("#age").get_attribute("value") == SCRIPT
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert dialogs == []


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(*variant, marks=() if variant in FAST_VARIANTS else pytest.mark.slow)
        for variant in VARIANTS
    ],
)
def test_the_page_is_accessible_and_fits_the_viewport(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse, width: int, scheme: str
) -> None:
    context = browser.new_context(
        base_url=str(intake.base_url),
        viewport=VIEWPORTS[width],
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    errors = ConsoleErrors(page)
    answered, waiting = take_in(intake), take_in(intake)
    warehouse.predict(answered)
    for name, path in (
        ("empty", "/"),
        ("answer", f"/intake/{answered}"),
        ("waiting", f"/intake/{waiting}"),
    ):
        page.goto(path)
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        screenshot = take_screenshot(page, ARTEFACTS, f"{name}-{width}-{scheme}")
        assert screenshot.stat().st_size > 10_000
    context.close()
    assert errors.messages == []


def test_the_prediction_appears_without_scripts(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse
) -> None:
    context = browser.new_context(base_url=str(intake.base_url), java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    fill_in(page)
    submit(page)
    patient_id = patient_of(page)
    expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    warehouse.predict(patient_id)
    expect(page.locator(".verdict")).to_be_visible(timeout=8000)
    context.close()


def test_a_form_on_another_site_stores_nothing(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse, tmp_path: Path
) -> None:
    count = warehouse.count_patients()
    inputs = "".join(f'<input name="{name}" value="{text}">' for name, text in PATIENT_FORM.items())
    other_site = tmp_path / "other-site.html"
    form = f'<form method="post" action="{intake.base_url}">{inputs}<button>Win</button></form>'
    other_site.write_text(form, encoding="utf-8")
    page = browser.new_page()
    page.goto(other_site.as_uri())
    page.get_by_role("button", name="Win").click()
    expect(page.locator("#notices")).to_contain_text("sent by another site")
    page.close()
    assert warehouse.count_patients() == count
