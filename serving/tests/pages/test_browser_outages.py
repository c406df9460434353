"""The intake page in a real browser during outages: nothing is lost, nothing is stored twice."""

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from serving.app.main import create_app
from serving.app.served_model import ServedModel
from serving.app.settings import ServingSettings
from serving.tests.browser import (
    ARTEFACTS,
    accessibility_violations,
    fill_in,
    patient_of,
    submit,
    take_screenshot,
)
from serving.tests.clients import take_in, wait_until
from serving.tests.conftest import running
from serving.tests.warehouse import Warehouse

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_late_prediction_is_explained(page: Page, warehouse: Warehouse) -> None:
    fill_in(page)
    submit(page)
    patient_id = patient_of(page)
    expect(page.locator("#late")).to_be_hidden()
    expect(page.locator("#late")).to_be_visible(timeout=8000)
    expect(page.locator("#late")).to_contain_text("stored and will get a prediction")
    assert accessibility_violations(page) == []
    take_screenshot(page, ARTEFACTS, "late")
    warehouse.predict(patient_id)
    expect(page.locator(".verdict")).to_be_visible()


def test_an_outage_of_the_database_is_explained_and_the_prediction_appears_after_it(
    page: Page, warehouse: Warehouse
) -> None:
    fill_in(page)
    # The response starts with the first event, after the server has queried the database.
    with page.expect_response("**/events*") as response:
        submit(page)
    assert response.value.ok
    patient_id = patient_of(page)
    with warehouse.outage():
        expect(page.locator("#lost")).to_contain_text("database cannot be reached", timeout=10000)
        fill_in(page)
        submit(page)
        notices = page.locator("#notices")
        expect(notices).to_contain_text("may or may not have been stored", timeout=10000)
        expect(page.locator("#glucose")).to_have_value("148")
    warehouse.predict(patient_id)
    page.goto(f"/intake/{patient_id}")
    expect(page.locator(".verdict")).to_be_visible()


def test_a_form_whose_response_was_lost_can_be_sent_again(page: Page, warehouse: Warehouse) -> None:
    def lose_response(route: Route) -> None:
        if route.request.method == "POST":
            # The server stores the patient; the browser does not get its response.
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.continue_()

    count = warehouse.count_patients()
    fill_in(page)
    page.route("**/", lose_response)
    submit(page)
    expect(page.locator("#lost")).to_contain_text("it will be stored only once")
    expect(page.locator("#glucose")).to_have_value("148")
    assert warehouse.count_patients() == count + 1
    page.unroute("**/", lose_response)
    submit(page)
    patient_id = patient_of(page)
    (newest,) = warehouse.rows("SELECT max(id), count(*) FROM diabetes_new")
    assert newest == (patient_id, count + 1)
    fill_in(page)
    submit(page)
    expect(page.locator("#answer-title")).not_to_have_text(f"Patient {patient_id}")
    assert warehouse.count_patients() == count + 2


def test_a_prediction_that_cannot_be_loaded_yet_is_shown_later(
    page: Page, warehouse: Warehouse
) -> None:
    fill_in(page)
    submit(page)
    patient_id = patient_of(page)
    path = f"**/intake/{patient_id}"
    page.route(path, lambda route: route.fulfill(status=503, body="<div id=answer></div>"))
    warehouse.predict(patient_id)
    expect(page.locator("#lost")).to_contain_text("connection to the server is lost")
    expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
    page.unroute(path)
    expect(page.locator(".verdict")).to_be_visible(timeout=15000)


def test_a_waiting_page_reconnects_to_a_restarted_server(
    browser: Browser, intake_settings: ServingSettings, released: ServedModel, warehouse: Warehouse
) -> None:
    with running(create_app(intake_settings, model=released)) as client:
        patient_id = take_in(client)
        port = client.base_url.port
        page = browser.new_page(base_url=str(client.base_url))
        page.goto(f"/intake/{patient_id}")
        expect(page.locator("#answer")).to_contain_text("Waiting for the prediction")
        wait_until(lambda: "diabetes_api_streams 1.0" in client.get("/metrics").text)
    expect(page.locator("#lost")).to_contain_text("connection to the server is lost")
    warehouse.predict(patient_id)
    with running(create_app(intake_settings, model=released), port=port):
        expect(page.locator(".verdict")).to_be_visible(timeout=15000)
        page.close()
