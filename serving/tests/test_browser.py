"""The page in a real browser: answers without a reload, each to its own person, for everybody."""

import re
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from diabetes_platform.contract.fields import FEATURES
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.browsers import (
    ARTEFACTS,
    LOOKS,
    SIZES,
    Watched,
    ask,
    fill_in,
    patient_of,
    serious,
    shoot,
)
from serving.tests.test_page import SCRIPT
from serving.tests.test_patients import take_in
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

OFTEN_SEEN = ((360, "light"), (1440, "dark"))
"""Each width and each scheme once."""


def test_the_answer_appears_without_a_reload(page: Page, warehouse: Warehouse) -> None:
    page.evaluate("window.neverReloaded = true")
    fill_in(page)
    ask(page)
    patient_id = patient_of(page)
    expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    warehouse.answer(patient_id)
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
def test_ten_people_at_once_each_see_their_own_answer(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse
) -> None:
    contexts = [browser.new_context(base_url=str(intake.base_url)) for _ in range(10)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.goto("/")
        fill_in(page)
    for page in pages:
        ask(page)
    people = [patient_of(page) for page in pages]
    assert len(set(people)) == 10
    for page in pages:
        expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    for number, person in reversed(list(enumerate(people))):
        warehouse.answer(person, probability=number / 10 + 0.01)
    for number, (page, person) in enumerate(zip(pages, people, strict=True)):
        expect(page.locator("#answer-title")).to_have_text(f"Patient {person}")
        expect(page.locator(".probability")).to_have_text(f"{10 * number + 1:.1f} %")
    for context in contexts:
        context.close()


def test_faults_are_shown_at_their_fields_and_the_entry_stays(page: Page) -> None:
    fill_in(page, bmi="700", age="")
    ask(page)
    expect(page.locator("#error-summary")).to_be_focused()
    expect(page.locator("#bmi")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#bmi-error")).to_contain_text("Allowed: 10 to 100 kg/m²")
    expect(page.locator("#glucose")).to_have_value("148")
    page.locator("#error-summary").get_by_role("link", name="Age").click()
    expect(page.locator("#age")).to_be_focused()
    assert serious(page) == []
    shoot(page, ARTEFACTS, "errors")


def test_a_number_that_the_browser_cannot_read_is_not_taken_for_unmeasured(
    page: Page, warehouse: Warehouse
) -> None:
    before = warehouse.rows("SELECT count(*) FROM diabetes_new")
    fill_in(page, glucose="")
    page.locator("#glucose").press_sequentially("1e")
    ask(page)
    expect(page.locator("#glucose")).to_be_focused()
    assert warehouse.rows("SELECT count(*) FROM diabetes_new") == before


def test_the_page_is_used_by_keyboard_alone(page: Page, warehouse: Warehouse) -> None:
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
    warehouse.answer(patient_of(page))
    expect(page.locator(".verdict")).to_be_visible()


def test_a_script_in_a_field_is_text(page: Page) -> None:
    page.evaluate(
        "given => { const age = document.querySelector('#age'); age.type = 'text';"
        " age.value = given }",
        SCRIPT,
    )
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    ask(page)
    expect(page.locator("#age-error")).to_be_visible()
    assert page.locator("#age").get_attribute("value") == SCRIPT
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert dialogs == []


@pytest.mark.parametrize(
    ("width", "scheme"),
    [pytest.param(*look, marks=() if look in OFTEN_SEEN else pytest.mark.slow) for look in LOOKS],
)
def test_the_page_is_accessible_and_fits(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse, width: int, scheme: str
) -> None:
    context = browser.new_context(
        base_url=str(intake.base_url),
        viewport=SIZES[width],
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    watched = Watched(page)
    answered, waiting = take_in(intake), take_in(intake)
    warehouse.answer(answered)
    for name, address in (
        ("empty", "/"),
        ("answer", f"/intake/{answered}"),
        ("waiting", f"/intake/{waiting}"),
    ):
        page.goto(address)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, ARTEFACTS, f"{name}-{width}-{scheme}")
        assert (ARTEFACTS / f"{name}-{width}-{scheme}.png").stat().st_size > 10_000
    context.close()
    assert watched.complaints == []


def test_without_scripts_the_answer_comes_too(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse
) -> None:
    context = browser.new_context(base_url=str(intake.base_url), java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    fill_in(page)
    ask(page)
    patient_id = patient_of(page)
    expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    warehouse.answer(patient_id)
    expect(page.locator(".verdict")).to_be_visible(timeout=8000)
    context.close()


def test_a_form_on_another_site_stores_nothing(
    browser: Browser, intake: httpx2.Client, warehouse: Warehouse, tmp_path: Path
) -> None:
    before = warehouse.rows("SELECT count(*) FROM diabetes_new")
    inputs = "".join(
        f'<input name="{name}" value="{value:g}">' for name, value in EXAMPLE_PATIENT.items()
    )
    foreign = tmp_path / "foreign.html"
    form = f'<form method="post" action="{intake.base_url}">{inputs}<button>Win</button></form>'
    foreign.write_text(form, encoding="utf-8")
    page = browser.new_page()
    page.goto(foreign.as_uri())
    page.get_by_role("button", name="Win").click()
    expect(page.locator("#notices")).to_contain_text("sent by another site")
    page.close()
    assert warehouse.rows("SELECT count(*) FROM diabetes_new") == before
