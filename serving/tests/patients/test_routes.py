"""The routes under `/patients`, on a real PostgreSQL."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from starlette.testclient import TestClient

from diabetes_platform.contract.fields import FEATURE_NAMES
from serving.app.patients.presenter import LATENCY_STAGES
from serving.app.patients.schemas import MAX_PAGE, PatientReceipt
from serving.tests.bundles import make_bundle
from serving.tests.clients import JSON_HEADERS, assert_problem, take_in, wait_until
from serving.tests.samples import ALIASED_PATIENT, CONTRIBUTIONS, PATIENT, PATIENT_FORM, patient
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

BUNDLE, _ = make_bundle()
LARGEST_ID = 2**63 - 1


def test_stores_a_patient_and_returns_a_receipt(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    response = intake.post("/patients", json=patient(insulin=None))
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
    assert {name: row[name] for name in FEATURE_NAMES} == patient(insulin=None)
    assert row["outcome"] is None


def test_repeated_requests_with_a_key_store_one_patient(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    headers = {"idempotency-key": uuid4().hex}
    count = warehouse.count_patients()
    with ThreadPoolExecutor(8) as executor:
        futures = [
            executor.submit(intake.post, "/patients", json=PATIENT, headers=headers)
            for _ in range(16)
        ]
    responses = [future.result() for future in futures]
    # The same measurements under the data set's names are the same patient.
    responses.append(intake.post("/patients", json=ALIASED_PATIENT, headers=headers))
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert warehouse.count_patients() == count + 1


def test_rejects_a_key_that_was_used_for_another_patient(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    headers = {"idempotency-key": uuid4().hex}
    first = intake.post("/patients", json=PATIENT, headers=headers)
    count = warehouse.count_patients()
    other = patient(insulin=None, age=51)
    (error,) = assert_problem(intake.post("/patients", json=other, headers=headers), 422)
    assert (error["field"], error["code"]) == ("idempotency-key", "already_used")
    assert warehouse.count_patients() == count
    # Deleting the patient frees its key.
    warehouse.execute("DELETE FROM diabetes_new WHERE id = %s", first.json()["id"])
    assert intake.post("/patients", json=other, headers=headers).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
def test_rejects_an_invalid_key(intake: httpx2.Client, warehouse: Warehouse, key: str) -> None:
    count = warehouse.count_patients()
    headers = {"idempotency-key": key.encode()}
    response = intake.post("/patients", json=PATIENT, headers=headers)
    assert [error["field"] for error in assert_problem(response, 422)] == ["idempotency-key"]
    assert warehouse.count_patients() == count


def test_accepts_the_names_and_missing_codes_of_the_data_set(intake: httpx2.Client) -> None:
    patient_id = take_in(intake, ALIASED_PATIENT | {"Insulin": 0})
    measurements = intake.get(f"/patients/{patient_id}").json()["measurements"]
    assert measurements == patient(insulin=None)


def test_an_invalid_patient_is_rejected_with_all_errors_and_not_stored(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    count = warehouse.count_patients()
    invalid = patient(bmi=700, age=None, glucose="148", shoe=42)
    errors = assert_problem(intake.post("/patients", json=invalid), 422)
    assert [(error["field"], error["code"]) for error in errors] == [
        ("glucose", "not_a_number"),
        ("bmi", "above_maximum"),
        ("age", "missing"),
        ("shoe", "unknown_field"),
    ]
    assert warehouse.count_patients() == count


def test_rejects_bodies_that_are_not_json_or_too_large(intake: httpx2.Client) -> None:
    assert_problem(intake.post("/patients", content="a=1"), 415)
    assert_problem(intake.post("/patients", content="{", headers=JSON_HEADERS), 422)
    assert_problem(intake.post("/patients", content=b" " * 500_000, headers=JSON_HEADERS), 413)


def test_a_stored_prediction_makes_a_waiting_patient_answered(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    waiting = intake.get(f"/patients/{patient_id}").json()
    assert (waiting["state"], waiting["prediction"]) == ("waiting", None)
    assert waiting["measurements"] == PATIENT
    event_id = warehouse.predict(patient_id, model_version=BUNDLE.model_version)
    response = intake.get(f"/patients/{patient_id}")
    answered = response.json()
    prediction = answered["prediction"]
    assert answered["state"] == "answered"
    assert prediction["event_id"] == event_id
    assert (prediction["result"], prediction["probability"]) == ("Diabetes", 0.73)
    assert prediction["threshold"] == BUNDLE.threshold
    assert prediction["contributions"] == CONTRIBUTIONS
    stages = [stage["name"] for stage in prediction["hops"]]
    assert stages == [stage.name for stage in LATENCY_STAGES]
    assert prediction["milliseconds"] == pytest.approx(40, abs=0.01)
    assert response.headers["cache-control"] == "no-store"


def test_returns_the_newest_prediction_without_the_threshold_of_an_unknown_model(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    warehouse.predict(patient_id, lsn=9, probability=0.2)
    warehouse.predict(patient_id, lsn=7, probability=0.9)
    prediction = intake.get(f"/patients/{patient_id}").json()["prediction"]
    assert prediction["event_id"].startswith("9-")
    assert prediction["threshold"] is None


@pytest.mark.parametrize(
    ("patient_id", "status"), [(LARGEST_ID, 404), ("0", 422), ("x", 422), (2**63, 422)]
)
def test_rejects_an_unknown_or_invalid_id(
    intake: httpx2.Client, patient_id: object, status: int
) -> None:
    for path in (f"/patients/{patient_id}", f"/patients/{patient_id}/events"):
        errors = assert_problem(intake.get(path), status)
        assert [error["field"] for error in errors] == ["patient_id"]
    response = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 1})
    assert_problem(response, status)


def test_lists_recent_patients_in_pages_without_their_measurements(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    ids = [take_in(intake) for _ in range(5)]
    warehouse.predict(ids[4])
    intake.put(f"/patients/{ids[3]}/outcome", json={"outcome": 0})
    first_page = intake.get("/patients?limit=2").json()
    assert [
        (summary["id"], summary["state"], summary["outcome_recorded"])
        for summary in first_page["patients"]
    ] == [(ids[4], "answered", False), (ids[3], "waiting", True)]
    assert set(first_page["patients"][0]) == {
        "id",
        "received_at",
        "state",
        "outcome_recorded",
        "links",
    }
    second_page = intake.get(first_page["next"]).json()
    assert [summary["id"] for summary in second_page["patients"]] == [ids[2], ids[1]]
    assert intake.get("/patients?before=1").json() == {"patients": [], "next": None}
    for invalid in ("limit=0", f"limit={MAX_PAGE + 1}", "limit=x", "before=0"):
        assert_problem(intake.get(f"/patients?{invalid}"), 422)


def test_an_outcome_is_recorded_once_and_can_be_corrected(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)

    def row_version() -> Any:
        return warehouse.rows("SELECT xmin::text FROM diabetes_new WHERE id = %s", patient_id)

    unrecorded = row_version()
    first = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 1})
    assert first.status_code == 200
    assert first.json()["outcome"] == 1
    recorded = row_version()
    assert recorded != unrecorded
    repeated = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 1})
    assert repeated.json() == first.json()
    assert row_version() == recorded
    corrected = intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 0})
    assert corrected.json()["outcome"] == 0
    assert corrected.json()["outcome_recorded_at"] > first.json()["outcome_recorded_at"]


@pytest.mark.parametrize(
    ("changes", "revert", "name"),
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
def test_a_table_that_does_not_match_the_server_is_named(
    intake: httpx2.Client,
    warehouse: Warehouse,
    caplog: pytest.LogCaptureFixture,
    changes: list[str],
    revert: str,
    name: str,
) -> None:
    count = warehouse.count_patients()
    for statement in changes:
        warehouse.execute(statement)
    try:
        response = intake.post("/patients", json=PATIENT)
        page = intake.post("/", data=PATIENT_FORM)
    finally:
        warehouse.execute(revert)
    assert_problem(response, 503)
    assert response.json()["type"].endswith(":database-mismatch")
    assert name in response.json()["detail"]
    assert name in caplog.text
    assert str(PATIENT["diabetes_pedigree_function"]) not in caplog.text
    assert page.status_code == 503
    assert warehouse.count_patients() == count
    take_in(intake)


def test_no_list_contains_a_canary(intake: httpx2.Client, warehouse: Warehouse) -> None:
    older, canary, newer = (take_in(intake) for _ in range(3))
    warehouse.execute("INSERT INTO serving.canaries VALUES (%s)", canary)
    patients = intake.get("/patients?limit=2").json()["patients"]
    assert [summary["id"] for summary in patients] == [newer, older]
    assert f"Patient {canary}" not in intake.get("/").text


BEFORE_EVERY_CHANGE = ["-infinity", "0044-03-15 12:00:00+00 BC"]
AFTER_EVERY_CHANGE = ["infinity", "10000-01-01 00:00:00+00"]
UNREPRESENTABLE = [*BEFORE_EVERY_CHANGE, *AFTER_EVERY_CHANGE]
INSERT = (
    "INSERT INTO diabetes_new (pregnancies, diabetes_pedigree_function, age, {}) {}"
    " VALUES (1, 0.5, 40, {}) RETURNING id"
)


@pytest.mark.parametrize("text", UNREPRESENTABLE)
def test_one_row_with_an_unrepresentable_time_hides_no_other(
    intake: httpx2.Client, warehouse: Warehouse, text: str
) -> None:
    older = take_in(intake)
    with warehouse.without_constraint("diabetes_new", "received_at_allowed"):
        ((odd,),) = warehouse.rows(INSERT.format("received_at", "", "%s"), text)
    try:
        newer = take_in(intake)
        warehouse.predict(odd)
        patients = intake.get("/patients?limit=3").json()["patients"]
        detail = intake.get(f"/patients/{odd}")
        pages = [intake.get("/"), intake.get(f"/intake/{odd}")]
    finally:
        warehouse.execute("DELETE FROM diabetes_new WHERE id = %s", odd)
    assert [summary["id"] for summary in patients] == [newer, odd, older]
    assert [summary["received_at"] is None for summary in patients] == [False, True, False]
    assert detail.json()["received_at"] is None
    if text in BEFORE_EVERY_CHANGE:
        assert detail.json()["prediction"]["hops"][0]["milliseconds"] is None
    else:
        assert detail.json()["prediction"] is None
    for page in pages:
        assert page.status_code == 200
        assert "at an unknown time" in page.text
        assert all(f"Patient {patient_id}" in page.text for patient_id in (older, odd, newer))


@pytest.mark.parametrize("column", ["changed_at", "stored_at"])
def test_an_unrepresentable_time_of_a_prediction_is_null(
    intake: httpx2.Client, warehouse: Warehouse, column: str
) -> None:
    patient_id = take_in(intake)
    intake.put(f"/patients/{patient_id}/outcome", json={"outcome": 1})
    warehouse.predict(patient_id)
    warehouse.execute(
        f"UPDATE serving.predictions SET {column} = 'infinity' WHERE intake_id = %s",  # noqa: S608 - a constant
        patient_id,
    )
    assert intake.get(f"/patients/{patient_id}").json()["prediction"][column] is None
    assert intake.get(f"/intake/{patient_id}").status_code == 200


@pytest.mark.parametrize(
    "text", [*UNREPRESENTABLE, "1899-12-31 23:59:59+00", "2200-01-01 00:00+00"]
)
def test_the_table_rejects_times_that_readers_cannot_represent(
    warehouse: Warehouse, text: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="received_at_allowed"):
        warehouse.rows(INSERT.format("received_at", "", "%s"), text)
    with pytest.raises(psycopg.errors.CheckViolation, match="outcome_recorded_at_allowed"):
        warehouse.rows(INSERT.format("outcome, outcome_recorded_at", "", "1, %s"), text)


def test_old_rows_with_ids_below_one_end_the_pages(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    first = take_in(intake)
    with warehouse.without_constraint("diabetes_new", "id_allowed"):
        for odd in (0, -1, -(2**63)):
            warehouse.rows(INSERT.format("id", "OVERRIDING SYSTEM VALUE", "%s"), odd)
        try:
            pages = [intake.get(f"/patients?limit={limit}") for limit in (1, 2, 3, 100)]
            for page in pages:
                while page.json()["next"] is not None:
                    page = intake.get(page.json()["next"])  # noqa: PLW2901
                    assert page.status_code == 200
            assert intake.get(f"/patients/{first}").status_code == 200
        finally:
            warehouse.execute("DELETE FROM diabetes_new WHERE id < 1")


@pytest.mark.parametrize("patient_id", [0, -1, -(2**63)])
def test_the_table_rejects_an_id_that_is_not_positive(
    warehouse: Warehouse, patient_id: int
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="id_allowed"):
        warehouse.rows(INSERT.format("id", "OVERRIDING SYSTEM VALUE", "%s"), patient_id)


def test_every_request_is_answered_in_time_while_the_server_is_stopped(
    intake: httpx2.Client, warehouse: Warehouse
) -> None:
    patient_id = take_in(intake)
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/patients", None),
        ("GET", f"/patients/{patient_id}", None),
        ("GET", f"/patients/{patient_id}/events", None),
        ("POST", "/patients", PATIENT),
        ("PUT", f"/patients/{patient_id}/outcome", {"outcome": 1}),
        ("GET", "/", None),
        ("GET", f"/intake/{patient_id}", None),
    ]

    def send(request: tuple[str, str, Any]) -> tuple[float, int]:
        method, path, body = request
        started = time.monotonic()
        status = intake.request(method, path, json=body, timeout=30).status_code
        return time.monotonic() - started, status

    for path in ["/patients"] * 8:  # several open connections
        intake.get(path)
    with warehouse.frozen(), ThreadPoolExecutor(len(requests) * 3) as executor:
        # The first requests find connections that were used a moment ago, the later ones do not.
        for _ in range(2):
            for seconds, status in executor.map(send, requests * 3):
                assert seconds < 5
                assert status in {200, 503}
    wait_until(lambda: intake.get("/patients").status_code == 200)
    assert intake.get(f"/patients/{patient_id}").json()["state"] == "waiting"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/intake/{id}", {}),
        ("GET", f"/intake/{LARGEST_ID}", {}),
        ("POST", "/intake/{id}/outcome", {"data": {"outcome": "2"}}),
        ("POST", f"/intake/{LARGEST_ID}/outcome", {"data": {"outcome": "1"}}),
        ("PUT", "/patients/{id}/outcome", {"json": {"outcome": 1}}),
    ],
)
def test_all_statements_of_a_request_share_one_deadline(
    intake: httpx2.Client, warehouse: Warehouse, method: str, path: str, body: dict[str, Any]
) -> None:
    path = path.format(id=take_in(intake))
    lock = b"LOCK TABLE public.diabetes_new IN ACCESS EXCLUSIVE MODE"
    with (
        psycopg.connect(warehouse.superuser) as first,
        psycopg.connect(warehouse.superuser) as second,
        ThreadPoolExecutor(2) as executor,
    ):
        first.execute(lock)
        started = time.monotonic()
        response = executor.submit(intake.request, method, path, **body, timeout=30)
        wait_until(lambda: waiting_for_locks(warehouse) == 1)
        # It queues behind the request's first statement, and the next one behind this lock.
        second_lock = executor.submit(second.execute, lock)
        wait_until(lambda: waiting_for_locks(warehouse) == 2)
        time.sleep(started + 2.5 - time.monotonic())
        first.rollback()
        second_lock.result(timeout=5)
        assert response.result().status_code == 503
        assert time.monotonic() - started < 5


def waiting_for_locks(warehouse: Warehouse) -> int:
    ((count,),) = warehouse.rows("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return int(count)


@pytest.mark.parametrize("path", ["/patients", "/patients/1", "/patients/1/events"])
def test_returns_503_without_a_database(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert_problem(response, 503)
    assert response.json()["type"].endswith(":no-database")
    assert "PLATFORM_DATABASE_URL" in response.json()["detail"]
    assert client.post("/predict", json=PATIENT).status_code == 200


def test_openapi_documents_every_route_with_examples(client: TestClient) -> None:
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
