"""The page in a real browser while something is slow or down: nothing is lost, nothing twice."""

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from serving.app.main import create_app
from serving.app.served_model import ServedModel
from serving.app.settings import ServingSettings
from serving.tests.browsers import ARTEFACTS, ask, fill_in, patient_of, serious, shoot
from serving.tests.conftest import running, wait_for
from serving.tests.test_patients import take_in
from serving.tests.warehouse import Warehouse

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_who_waits_long_is_told_that_the_request_is_kept(page: Page, warehouse: Warehouse) -> None:
    fill_in(page)
    ask(page)
    patient_id = patient_of(page)
    expect(page.locator("#late")).to_be_hidden()
    expect(page.locator("#late")).to_be_visible(timeout=8000)
    expect(page.locator("#late")).to_contain_text("stored and will get a prediction")
    assert serious(page) == []
    shoot(page, ARTEFACTS, "late")
    warehouse.answer(patient_id)
    expect(page.locator(".verdict")).to_be_visible()


def test_an_outage_is_told_and_the_answer_comes_after_it(page: Page, warehouse: Warehouse) -> None:
    fill_in(page)
    # Its head comes with the first event: the server has asked the database by then.
    with page.expect_response("**/events*") as following:
        ask(page)
    assert following.value.ok
    patient_id = patient_of(page)
    with warehouse.outage():
        expect(page.locator("#lost")).to_contain_text("database cannot be reached", timeout=10000)
        fill_in(page)
        ask(page)
        expect(page.locator("#notices")).to_contain_text("may or may not", timeout=10000)
        expect(page.locator("#glucose")).to_have_value("148")
    warehouse.answer(patient_id)
    page.goto(f"/intake/{patient_id}")
    expect(page.locator(".verdict")).to_be_visible()


def test_a_lost_answer_is_asked_for_again_without_a_second_patient(
    page: Page, warehouse: Warehouse
) -> None:
    def lose(route: Route) -> None:
        if route.request.method == "POST":
            # The server has stored it; the browser learns nothing of that.
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.continue_()

    ((before,),) = warehouse.rows("SELECT count(*) FROM diabetes_new")
    fill_in(page)
    page.route("**/", lose)
    ask(page)
    expect(page.locator("#lost")).to_contain_text("it will be stored only once")
    expect(page.locator("#glucose")).to_have_value("148")
    assert warehouse.rows("SELECT count(*) FROM diabetes_new") == [(before + 1,)]
    page.unroute("**/", lose)
    ask(page)
    patient_id = patient_of(page)
    (newest,) = warehouse.rows("SELECT max(id), count(*) FROM diabetes_new")
    assert newest == (patient_id, before + 1)
    fill_in(page)
    ask(page)
    expect(page.locator("#answer-title")).not_to_have_text(f"Patient {patient_id}")
    assert warehouse.rows("SELECT count(*) FROM diabetes_new") == [(before + 2,)]


def test_an_answer_that_cannot_be_shown_yet_is_shown_later(
    page: Page, warehouse: Warehouse
) -> None:
    fill_in(page)
    ask(page)
    patient_id = patient_of(page)
    shown = f"**/intake/{patient_id}"
    page.route(shown, lambda route: route.fulfill(status=503, body="<div id=answer></div>"))
    warehouse.answer(patient_id)
    expect(page.locator("#lost")).to_contain_text("connection to the server is lost")
    expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    page.unroute(shown)
    expect(page.locator(".verdict")).to_be_visible(timeout=15000)


def test_a_server_that_comes_back_is_found_by_the_waiting_page(
    browser: Browser, intake_settings: ServingSettings, released: ServedModel, warehouse: Warehouse
) -> None:
    with running(create_app(intake_settings, model=released)) as first:
        patient_id = take_in(first)
        port = first.base_url.port
        page = browser.new_page(base_url=str(first.base_url))
        page.goto(f"/intake/{patient_id}")
        expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
        wait_for(lambda: "diabetes_api_streams 1.0" in first.get("/metrics").text)
    expect(page.locator("#lost")).to_contain_text("connection to the server is lost")
    warehouse.answer(patient_id)
    with running(create_app(intake_settings, model=released), port=port):
        expect(page.locator(".verdict")).to_be_visible(timeout=15000)
        page.close()
