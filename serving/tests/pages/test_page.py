"""The intake page without a script: form, predictions, notices and rejected forms."""

import re
from html import unescape

import httpx2
import pytest
from starlette.testclient import TestClient

from diabetes_platform.contract.fields import FEATURES
from serving.tests.bundles import make_bundle
from serving.tests.clients import take_in, wait_until
from serving.tests.samples import PATIENT, PATIENT_FORM
from serving.tests.warehouse import Warehouse

BUNDLE, _ = make_bundle()
SCRIPT = '"><script>alert(1)</script>'
FORM_TYPE = "application/x-www-form-urlencoded"


def inputs(page: str) -> dict[str, dict[str, str]]:
    """Return the attributes of the form's inputs by name."""
    attributes_by_name = {}
    for tag in re.findall(r"<input [^>]*data-example[^>]*>", page):
        attributes = {
            name: unescape(value) for name, value in re.findall(r'([a-z-]+)="([^"]*)"', tag)
        }
        attributes |= {"required": ""} if " required" in tag else {}
        attributes_by_name[attributes["name"]] = attributes
    return attributes_by_name


def form_id(page: str) -> str:
    """Return the id that the page has given its form."""
    (value,) = re.findall(r'name="form_id" value="([0-9a-f]{32})"', page)
    return str(value)


def notices(page: str) -> str:
    """Return the notices of the page."""
    match = re.search(r'<div id="notices">(.*?)</div>', page, re.DOTALL)
    assert match
    return match[1]


def test_the_form_matches_the_openapi_document(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Patient"]
    page = client.get("/").text
    form = inputs(page)
    assert list(form) == list(schema["properties"]) == [field.name for field in FEATURES]
    for name, documented in schema["properties"].items():
        number = documented.get("anyOf", [documented])[0]
        assert float(form[name]["min"]) == number["minimum"]
        assert float(form[name]["max"]) == number["maximum"]
        assert float(form[name]["step"]) == documented["x-step"]
        assert ("required" in form[name]) == (name in schema["required"])
        assert f'<label for="{name}">{documented["title"]}' in page
        if documented["x-unit"] not in {"1", "count"}:
            assert f'aria-hidden="true">{documented["x-unit"]}</span>' in page


def test_without_a_database_the_page_predicts_and_says_that_nothing_is_stored(
    client: TestClient,
) -> None:
    assert "nothing is stored" in client.get("/").text
    response = client.post("/", data=PATIENT_FORM)
    prediction = client.post("/predict", json=PATIENT).json()
    assert response.status_code == 200
    assert f"{100 * prediction['probability']:.1f} %" in response.text
    assert prediction["result"] in response.text
    assert "Nothing was stored" in response.text
    assert BUNDLE.model_version in response.text


def test_errors_are_shown_at_their_inputs_and_values_are_kept(client: TestClient) -> None:
    changes = {"bmi": "700", "age": "", "glucose": "abc"}
    response = client.post("/", data=PATIENT_FORM | changes)
    assert response.status_code == 422
    form = inputs(response.text)
    invalid = {name for name, tag in form.items() if tag.get("aria-invalid") == "true"}
    assert invalid == {"bmi", "age", "glucose"}
    assert form["bmi"]["value"] == "700"
    assert form["pregnancies"]["value"] == "6"
    for name in invalid:
        assert form[name]["aria-describedby"] == f"{name}-help {name}-error"
        assert f'id="{name}-error"' in response.text
        assert f'<a href="#{name}">' in response.text
    assert "This is too high. Allowed: 10 to 100 kg/m²." in response.text


def test_an_empty_optional_input_means_not_measured(client: TestClient) -> None:
    response = client.post("/", data=PATIENT_FORM | {"insulin": "", "glucose": "0"})
    assert response.status_code == 200
    assert response.text.count("not measured</span>") == 2


def test_scripts_in_inputs_are_escaped(client: TestClient) -> None:
    response = client.post("/", data=PATIENT_FORM | {"age": SCRIPT, SCRIPT: SCRIPT})
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
def test_rejects_a_form_from_another_site(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/", data=PATIENT_FORM, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"age", FORM_TYPE, 400),
        (b"age=1&age=2", FORM_TYPE, 400),
        (b"age=%ff", FORM_TYPE, 400),
        (b"\xff=1", FORM_TYPE, 400),
        (b"&".join(b"a%d=1" % n for n in range(60)), FORM_TYPE, 400),
        (b"age=" + b"1" * 500_000, FORM_TYPE, 413),
        (b"", FORM_TYPE, 422),
    ],
)
def test_rejects_bodies_that_the_form_cannot_send(
    client: TestClient, body: bytes, media_type: str, status: int
) -> None:
    response = client.post("/", content=body, headers={"content-type": media_type})
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")


def test_the_page_has_no_inline_script_or_style_and_is_not_cached(client: TestClient) -> None:
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    for directive in (
        "default-src 'none'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
    ):
        assert directive in policy
    assert response.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", response.text)


def test_the_page_without_a_model(empty_client: TestClient) -> None:
    assert "No model in use yet." in empty_client.get("/").text
    response = empty_client.post("/", data=PATIENT_FORM)
    assert response.status_code == 503
    assert "No model has been released yet" in notices(response.text)


def test_without_a_database_the_page_of_a_patient_is_unavailable(client: TestClient) -> None:
    for response in (
        client.get("/intake/1"),
        client.post("/intake/1/outcome", data={"outcome": "1"}),
    ):
        assert response.status_code == 503
        assert "does not store patients" in notices(response.text)


@pytest.mark.integration
def test_a_form_redirects_to_its_patient_which_gets_the_prediction(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    response = intake.post("/", data=PATIENT_FORM)
    assert response.status_code == 303
    path = response.headers["location"]
    waiting = intake.get(path).text
    patient_id = int(path.rpartition("/")[2])
    assert f'data-waiting="/patients/{patient_id}/events"' in waiting
    assert '<meta http-equiv="refresh"' in waiting
    warehouse.predict(patient_id)
    answered = intake.get(path).text
    assert "73.0 %" in answered
    assert "refresh" not in answered
    recent = re.findall(r'href="/intake/(\d+)".*?class="state (\w+)"', intake.get("/").text)
    assert recent[0] == (str(patient_id), "answered")


@pytest.mark.integration
def test_a_repeated_form_is_the_same_patient_unless_a_value_changes(
    intake: httpx2.Client,
) -> None:
    form = PATIENT_FORM | {"form_id": form_id(intake.get("/").text)}
    first, repeated = (intake.post("/", data=form).headers["location"] for _ in range(2))
    assert repeated == first
    changed = intake.post("/", data=form | {"age": "51"}).headers["location"]
    new_form = PATIENT_FORM | {"form_id": form_id(intake.get(first).text)}
    another = intake.post("/", data=new_form).headers["location"]
    without_id = [intake.post("/", data=PATIENT_FORM).headers["location"] for _ in range(2)]
    assert len({first, changed, another, *without_id}) == 5


@pytest.mark.integration
def test_an_outcome_is_recorded_by_form(intake: httpx2.Client) -> None:
    patient_id = take_in(intake)
    path = f"/intake/{patient_id}"
    assert intake.post(f"{path}/outcome", data={"outcome": "1"}).status_code == 303
    assert intake.get(f"/patients/{patient_id}").json()["outcome"] == 1
    assert "outcome recorded" in intake.get(path).text
    invalid = intake.post(f"{path}/outcome", data={"outcome": "2"})
    assert invalid.status_code == 422
    assert "Allowed: 0 or 1." in invalid.text
    cross_site = intake.post(
        f"{path}/outcome", data={"outcome": "0"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert cross_site.status_code == 403
    assert intake.get(f"/patients/{patient_id}").json()["outcome"] == 1
    unknown = intake.post(f"/intake/{2**62}/outcome", data={"outcome": "1"})
    assert unknown.status_code == 404
    assert "does not exist" in notices(unknown.text)


@pytest.mark.integration
@pytest.mark.slow
def test_in_an_outage_the_page_keeps_the_form_and_explains(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    with warehouse.outage():
        form = PATIENT_FORM | {"form_id": form_id(intake.get("/").text)}
        response = intake.post("/", data=form)
        assert response.status_code == 503
        form = PATIENT_FORM | {"form_id": form_id(response.text)}
        assert "it will be stored only once" in notices(response.text)
        assert inputs(response.text)["bmi"]["value"] == "33.6"
        assert "database cannot be reached" in notices(intake.get("/").text)
        assert intake.get(f"/intake/{patient_id}").status_code == 503
        response = intake.post(f"/intake/{patient_id}/outcome", data={"outcome": "1"})
        assert response.status_code == 503
    wait_until(lambda: intake.post("/", data=form).status_code == 303)
    stored, repeated = (intake.post("/", data=form).headers["location"] for _ in range(2))
    assert repeated == stored
