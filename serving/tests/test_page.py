"""The page without a script: its form, its answers and what it refuses."""

import re
from html import unescape

import httpx2
import pytest
from starlette.testclient import TestClient

from diabetes_platform.contract.fields import FEATURES
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.bundles import make_bundle
from serving.tests.conftest import wait_for
from serving.tests.test_patients import take_in
from serving.tests.warehouse import Warehouse

BUNDLE, _ = make_bundle()
FORM = {name: f"{value:g}" for name, value in EXAMPLE_PATIENT.items()}
SCRIPT = '"><script>alert(1)</script>'


def inputs(page: str) -> dict[str, dict[str, str]]:
    """Return the attributes of the form's inputs by name."""
    found = {}
    for tag in re.findall(r"<input [^>]*data-example[^>]*>", page):
        attributes = {
            name: unescape(value) for name, value in re.findall(r'([a-z-]+)="([^"]*)"', tag)
        }
        attributes |= {"required": ""} if " required" in tag else {}
        found[attributes["name"]] = attributes
    return found


def form_id(page: str) -> str:
    """Return what the form is known by."""
    (found,) = re.findall(r'name="form_id" value="([0-9a-f]{32})"', page)
    return str(found)


def test_the_form_is_what_the_api_documents(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Patient"]
    page = client.get("/").text
    found = inputs(page)
    assert list(found) == list(schema["properties"]) == [field.name for field in FEATURES]
    for name, documented in schema["properties"].items():
        number = documented.get("anyOf", [documented])[0]
        given = found[name]
        assert float(given["min"]) == number["minimum"]
        assert float(given["max"]) == number["maximum"]
        assert float(given["step"]) == documented["x-step"]
        assert ("required" in given) == (name in schema["required"])
        assert f'<label for="{name}">{documented["title"]}' in page
        if documented["x-unit"] not in {"1", "count"}:
            assert f'aria-hidden="true">{documented["x-unit"]}</span>' in page


def test_without_a_database_the_page_answers_directly_and_says_that_nothing_is_stored(
    client: TestClient,
) -> None:
    assert "nothing is stored" in client.get("/").text
    answer = client.post("/", data=FORM)
    predicted = client.post("/predict", json=EXAMPLE_PATIENT).json()
    assert answer.status_code == 200
    assert f"{100 * predicted['probability']:.1f} %" in answer.text
    assert predicted["result"] in answer.text
    assert "Nothing was stored" in answer.text
    assert BUNDLE.model_version in answer.text


def test_faults_stand_at_their_fields_and_what_was_typed_stays(client: TestClient) -> None:
    response = client.post("/", data={**FORM, "bmi": "700", "age": "", "glucose": "abc"})
    assert response.status_code == 422
    found = inputs(response.text)
    wrong = {name for name, given in found.items() if given.get("aria-invalid") == "true"}
    assert wrong == {"bmi", "age", "glucose"}
    assert found["bmi"]["value"] == "700"
    assert found["pregnancies"]["value"] == "6"
    for name in wrong:
        assert found[name]["aria-describedby"] == f"{name}-help {name}-error"
        assert f'id="{name}-error"' in response.text
        assert f'<a href="#{name}">' in response.text
    assert "This is too high. Allowed: 10 to 100 kg/m²." in response.text


def test_an_empty_optional_field_means_not_measured(client: TestClient) -> None:
    answer = client.post("/", data={**FORM, "insulin": "", "glucose": "0"})
    assert answer.status_code == 200
    assert answer.text.count("not measured</span>") == 2


def test_scripts_in_fields_are_shown_as_text(client: TestClient) -> None:
    response = client.post("/", data={**FORM, "age": SCRIPT, SCRIPT: SCRIPT})
    assert response.status_code == 422
    assert inputs(response.text)["age"]["value"] == SCRIPT
    assert "<script>alert" not in response.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://testserver"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_form_of_another_site_is_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/", data=FORM, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"age", "application/x-www-form-urlencoded", 400),
        (b"age=1&age=2", "application/x-www-form-urlencoded", 400),
        (b"age=%ff", "application/x-www-form-urlencoded", 400),
        (b"\xff=1", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % n for n in range(60)), "application/x-www-form-urlencoded", 400),
        (b"age=" + b"1" * 500_000, "application/x-www-form-urlencoded", 413),
        (b"", "application/x-www-form-urlencoded", 422),
    ],
)
def test_what_no_form_of_this_page_sends_is_refused(
    client: TestClient, body: bytes, media_type: str, status: int
) -> None:
    response = client.post("/", content=body, headers={"content-type": media_type})
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")


def test_the_page_allows_no_inline_script_or_style_and_is_not_cached(client: TestClient) -> None:
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
    ):
        assert part in policy
    assert response.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", response.text)


def test_the_page_without_a_model(empty_client: TestClient) -> None:
    assert "No model in use yet." in empty_client.get("/").text
    refused = empty_client.post("/", data=FORM)
    assert refused.status_code == 503
    assert "No model has been released yet" in refused.text


def test_a_patient_without_a_database_is_not_shown(client: TestClient) -> None:
    for response in (
        client.get("/intake/1"),
        client.post("/intake/1/outcome", data={"outcome": "1"}),
    ):
        assert response.status_code == 503
        assert "does not store patients" in response.text


@pytest.mark.integration
def test_a_form_leads_to_its_patient_and_then_to_the_answer(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    response = intake.post("/", data=FORM)
    assert response.status_code == 303
    page = response.headers["location"]
    waiting = intake.get(page).text
    patient_id = int(page.rpartition("/")[2])
    assert f'data-waiting="/patients/{patient_id}/events"' in waiting
    assert '<meta http-equiv="refresh"' in waiting
    warehouse.answer(patient_id)
    answered = intake.get(page).text
    assert "73.0 %" in answered
    assert "refresh" not in answered
    listed = re.findall(r'href="/intake/(\d+)".*?class="state (\w+)"', intake.get("/").text)
    assert listed[0] == (str(patient_id), "answered")


@pytest.mark.integration
def test_a_form_sent_again_is_the_same_patient_and_with_other_values_another(
    intake: httpx2.Client,
) -> None:
    form = {**FORM, "form_id": form_id(intake.get("/").text)}
    first, again = (intake.post("/", data=form).headers["location"] for _ in range(2))
    assert again == first
    changed = intake.post("/", data={**form, "age": "51"}).headers["location"]
    another = intake.post("/", data={**FORM, "form_id": form_id(intake.get(first).text)})
    without = [intake.post("/", data=FORM).headers["location"] for _ in range(2)]
    assert len({first, changed, another.headers["location"], *without}) == 5


@pytest.mark.integration
def test_an_outcome_is_recorded_by_form(intake: httpx2.Client) -> None:
    patient_id = take_in(intake)
    page = f"/intake/{patient_id}"
    assert intake.post(f"{page}/outcome", data={"outcome": "1"}).status_code == 303
    assert intake.get(f"/patients/{patient_id}").json()["outcome"] == 1
    assert "outcome recorded" in intake.get(page).text
    refused = intake.post(f"{page}/outcome", data={"outcome": "2"})
    assert refused.status_code == 422
    assert "Allowed: 0 or 1." in refused.text
    cross = intake.post(
        f"{page}/outcome", data={"outcome": "0"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert cross.status_code == 403
    assert intake.get(f"/patients/{patient_id}").json()["outcome"] == 1
    unknown = intake.post(f"/intake/{2**62}/outcome", data={"outcome": "1"})
    assert unknown.status_code == 404
    assert "does not exist" in unknown.text


@pytest.mark.integration
@pytest.mark.slow
def test_in_an_outage_the_page_keeps_what_was_typed_and_says_so(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    with warehouse.outage():
        refused = intake.post("/", data={**FORM, "form_id": form_id(intake.get("/").text)})
        assert refused.status_code == 503
        form = {**FORM, "form_id": form_id(refused.text)}
        assert "it will be stored only once" in refused.text
        assert inputs(refused.text)["bmi"]["value"] == "33.6"
        assert "database cannot be reached" in intake.get("/").text
        assert intake.get(f"/intake/{patient_id}").status_code == 503
        answer = intake.post(f"/intake/{patient_id}/outcome", data={"outcome": "1"})
        assert answer.status_code == 503
    wait_for(lambda: intake.post("/", data=form).status_code == 303)
    stored, again = (intake.post("/", data=form).headers["location"] for _ in range(2))
    assert stored == again
