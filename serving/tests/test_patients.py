"""Patients over HTTP: taken in, read, listed, their outcome confirmed. On a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.testclient import TestClient

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from serving.app.patients.presenter import LATENCY_STAGES
from serving.app.patients.schemas import MAX_PAGE, PatientReceipt
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.bundles import make_bundle
from serving.tests.test_api import assert_problem
from serving.tests.warehouse import CONTRIBUTIONS, Warehouse

pytestmark = pytest.mark.integration

BUNDLE, _ = make_bundle()
MOST = 2**63 - 1


def take_in(client: httpx2.Client, patient: dict[str, Any] | None = None) -> int:
    response = client.post("/patients", json=patient or EXAMPLE_PATIENT)
    assert response.status_code == 201, response.text
    patient_id: int = response.json()["id"]
    return patient_id


def count(warehouse: Warehouse) -> int:
    ((rows,),) = warehouse.rows("SELECT count(*) FROM diabetes_new")
    return int(rows)


def test_a_patient_is_kept_and_gets_a_receipt(intake: httpx2.Client, warehouse: Warehouse) -> None:
    response = intake.post("/patients", json={**EXAMPLE_PATIENT, "insulin": None})
    receipt = response.json()
    patient_id = receipt["id"]
    assert response.status_code == 201
    assert response.headers["location"] == f"/patients/{patient_id}"
    assert receipt["state"] == "waiting"
    assert receipt["links"] == {
        "self": f"/patients/{patient_id}",
        "events": f"/patients/{patient_id}/events",
        "outcome": f"/patients/{patient_id}/outcome",
        "page": f"/intake/{patient_id}",
    }
    ((row,),) = warehouse.rows("SELECT to_jsonb(d) FROM diabetes_new d WHERE id = %s", patient_id)
    assert {name: row[name] for name in FEATURE_NAMES} == {**EXAMPLE_PATIENT, "insulin": None}
    assert row["outcome"] is None


def test_a_request_with_a_key_is_one_patient_however_often_it_comes(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    key = {"idempotency-key": uuid4().hex}
    before = count(warehouse)
    with ThreadPoolExecutor(8) as senders:
        sent = [
            senders.submit(intake.post, "/patients", json=EXAMPLE_PATIENT, headers=key)
            for _ in range(16)
        ]
    answers = [one.result() for one in sent]
    # The data set's names and codes say the same of the same patient.
    flat = {field.alias: field.example for field in FEATURES}
    answers.append(intake.post("/patients", json=flat, headers=key))
    assert {one.status_code for one in answers} == {201}
    assert len({one.text for one in answers}) == 1
    assert count(warehouse) == before + 1


def test_a_key_belongs_to_one_patient(intake: httpx2.Client, warehouse: Warehouse) -> None:
    key = {"idempotency-key": uuid4().hex}
    first = intake.post("/patients", json=EXAMPLE_PATIENT, headers=key)
    before = count(warehouse)
    other = {**EXAMPLE_PATIENT, "insulin": None, "age": 51}
    (error,) = assert_problem(intake.post("/patients", json=other, headers=key), 422)
    assert (error["field"], error["code"]) == ("idempotency-key", "already_used")
    assert count(warehouse) == before
    # A key goes with its patient.
    warehouse.execute("DELETE FROM diabetes_new WHERE id = %s", first.json()["id"])
    assert intake.post("/patients", json=other, headers=key).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
def test_a_key_that_is_none_is_refused(
    intake: httpx2.Client, warehouse: Warehouse, key: str
) -> None:
    before = count(warehouse)
    refused = intake.post(
        "/patients", json=EXAMPLE_PATIENT, headers={"idempotency-key": key.encode()}
    )
    assert [one["field"] for one in assert_problem(refused, 422)] == ["idempotency-key"]
    assert count(warehouse) == before


def test_the_flat_names_of_the_data_set_and_its_codes_are_accepted(intake: httpx2.Client) -> None:
    flat = {field.alias: field.example for field in FEATURES} | {"Insulin": 0}
    read = intake.get(f"/patients/{take_in(intake, flat)}").json()
    assert read["measurements"] == {**EXAMPLE_PATIENT, "insulin": None}


def test_a_patient_with_faults_is_refused_with_all_of_them_and_not_stored(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    before = warehouse.rows("SELECT count(*) FROM diabetes_new")
    bad = {**EXAMPLE_PATIENT, "bmi": 700, "age": None, "glucose": "148", "shoe": 42}
    errors = assert_problem(intake.post("/patients", json=bad), 422)
    assert [(error["field"], error["code"]) for error in errors] == [
        ("glucose", "not_a_number"),
        ("bmi", "above_maximum"),
        ("age", "missing"),
        ("shoe", "unknown_field"),
    ]
    assert warehouse.rows("SELECT count(*) FROM diabetes_new") == before


def test_bodies_that_are_no_json_or_too_large_are_refused(intake: httpx2.Client) -> None:
    assert_problem(intake.post("/patients", content="a=1"), 415)
    json = {"content-type": "application/json"}
    assert_problem(intake.post("/patients", content="{", headers=json), 422)
    assert_problem(intake.post("/patients", content=b" " * 500_000, headers=json), 413)


def test_a_waiting_patient_becomes_an_answered_one(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    waiting = intake.get(f"/patients/{patient_id}").json()
    assert (waiting["state"], waiting["prediction"]) == ("waiting", None)
    assert waiting["measurements"] == EXAMPLE_PATIENT
    event_id = warehouse.answer(patient_id, model_version=BUNDLE.model_version)
    response = intake.get(f"/patients/{patient_id}")
    answered = response.json()
    prediction = answered["prediction"]
    assert answered["state"] == "answered"
    assert prediction["event_id"] == event_id
    assert (prediction["result"], prediction["probability"]) == ("Diabetes", 0.73)
    assert prediction["threshold"] == BUNDLE.threshold
    assert prediction["contributions"] == CONTRIBUTIONS
    assert [hop["name"] for hop in prediction["hops"]] == [hop.name for hop in LATENCY_STAGES]
    assert prediction["milliseconds"] == pytest.approx(40, abs=0.01)
    assert response.headers["cache-control"] == "no-store"


def test_the_newest_prediction_is_shown_and_an_unknown_model_has_no_threshold(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    warehouse.answer(patient_id, lsn=9, probability=0.2)
    warehouse.answer(patient_id, lsn=7, probability=0.9)
    prediction = intake.get(f"/patients/{patient_id}").json()["prediction"]
    assert prediction["event_id"].startswith("9-")
    assert prediction["threshold"] is None


@pytest.mark.parametrize(("given", "status"), [(MOST, 404), ("0", 422), ("x", 422), (2**63, 422)])
def test_ids_that_nobody_has(intake: httpx2.Client, given: object, status: int) -> None:
    for address in (f"/patients/{given}", f"/patients/{given}/events"):
        errors = assert_problem(intake.get(address), status)
        assert [error["field"] for error in errors] == ["patient_id"]
    answer = intake.put(f"/patients/{given}/outcome", json={"outcome": 1})
    assert_problem(answer, status)


def test_recent_patients_come_in_pages_without_their_values(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    made = [take_in(intake) for _ in range(5)]
    warehouse.answer(made[4])
    intake.put(f"/patients/{made[3]}/outcome", json={"outcome": 0})
    first = intake.get("/patients?limit=2").json()
    assert [(one["id"], one["state"], one["outcome_recorded"]) for one in first["patients"]] == [
        (made[4], "answered", False),
        (made[3], "waiting", True),
    ]
    assert set(first["patients"][0]) == {
        "id",
        "received_at",
        "state",
        "outcome_recorded",
        "links",
    }
    second = intake.get(first["next"]).json()
    assert [one["id"] for one in second["patients"]] == [made[2], made[1]]
    assert intake.get("/patients?before=1").json() == {"patients": [], "next": None}
    for bad in ("limit=0", f"limit={MAX_PAGE + 1}", "limit=x", "before=0"):
        assert_problem(intake.get(f"/patients?{bad}"), 422)


def test_an_outcome_is_recorded_once_and_may_be_corrected(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)

    def changes() -> Any:
        return warehouse.rows("SELECT xmin::text FROM diabetes_new WHERE id = %s", patient_id)

    before = changes()
    first = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 1})
    assert first.status_code == 200
    assert first.json()["outcome"] == 1
    recorded = changes()
    assert recorded != before
    again = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 1})
    assert again.json() == first.json()
    assert changes() == recorded
    corrected = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 0})
    assert corrected.json()["outcome"] == 0
    assert corrected.json()["outcome_recorded_at"] > first.json()["outcome_recorded_at"]


@pytest.mark.parametrize(
    ("changes", "undone", "told"),
    [
        (
            ["ALTER TABLE diabetes_new RENAME COLUMN blood_pressure TO pressure"],
            "ALTER TABLE diabetes_new RENAME COLUMN pressure TO blood_pressure",
            "blood_pressure",
        ),
        (
            [
                "ALTER TABLE diabetes_new ADD ward text NOT NULL DEFAULT 'a'",
                "ALTER TABLE diabetes_new ALTER ward DROP DEFAULT",
            ],
            "ALTER TABLE diabetes_new DROP ward",
            "ward",
        ),
        (
            ["ALTER TABLE diabetes_new ADD CONSTRAINT adults_only CHECK (age < 21) NOT VALID"],
            "ALTER TABLE diabetes_new DROP CONSTRAINT adults_only",
            "adults_only",
        ),
        (
            ["ALTER TABLE diabetes_new RENAME TO diabetes_old"],
            "ALTER TABLE diabetes_old RENAME TO diabetes_new",
            "diabetes_new",
        ),
    ],
)
def test_a_table_that_was_changed_beside_the_server_is_told_by_name(
    intake: httpx2.Client,
    warehouse: Warehouse,
    caplog: pytest.LogCaptureFixture,
    changes: list[str],
    undone: str,
    told: str,
) -> None:
    before = count(warehouse)
    for statement in changes:
        warehouse.execute(statement)
    try:
        refused = intake.post("/patients", json=EXAMPLE_PATIENT)
        page = intake.post("/", data={name: f"{v:g}" for name, v in EXAMPLE_PATIENT.items()})
    finally:
        warehouse.execute(undone)
    assert_problem(refused, 503)
    assert refused.json()["type"].endswith(":database-mismatch")
    assert told in refused.json()["detail"]
    assert told in caplog.text
    assert str(EXAMPLE_PATIENT["diabetes_pedigree_function"]) not in caplog.text
    assert page.status_code == 503
    assert count(warehouse) == before
    take_in(intake)


@pytest.mark.parametrize("path", ["/patients", "/patients/1", "/patients/1/events"])
def test_without_a_database_the_intake_says_so(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert_problem(response, 503)
    assert response.json()["type"].endswith(":no-database")
    assert "PLATFORM_DATABASE_URL" in response.json()["detail"]
    assert client.post("/predict", json=EXAMPLE_PATIENT).status_code == 200


def test_every_route_of_patients_is_documented_with_examples(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    documented = {
        (method, path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/patients")
    }
    assert documented == {
        ("post", "/patients"),
        ("get", "/patients"),
        ("get", "/patients/{patient_id}"),
        ("get", "/patients/{patient_id}/events"),
        ("put", "/patients/{patient_id}/outcome"),
    }
    assert "text/event-stream" in str(paths["/patients/{patient_id}/events"])
    receipt = paths["/patients"]["post"]["responses"]["201"]["content"]["application/json"]
    assert set(receipt["example"]) == PatientReceipt.__required_keys__
