"""The API reads the champion and the Data Docs on S3 with a user that may only read them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from diabetes_platform.contract.bundle import ChampionPointer, champion_key
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import require_alive, spawn, stop_group
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.polling import wait_until
from diabetes_platform.quality.data_docs import write_docs
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.quality.reports import empty_result, report_of
from diabetes_platform_tests.storage import ROOT, Storage
from serving.tests.bundles import make_bundle
from serving.tests.samples import PATIENT

pytestmark = pytest.mark.integration


@pytest.fixture
def store(storage: Storage) -> Iterator[ModelStore]:
    """The platform's own store, with the pipeline's rights; its champion is restored at the end."""
    model_store = ModelStore("s3://models", storage.s3("pipeline"))
    previous = model_store.champion()
    yield model_store
    if previous is None:
        storage.client(ROOT).remove_object(bucket_name="models", object_name=champion_key())
    else:
        release(model_store, previous.champion)


def put(store: ModelStore, intercept: float) -> ChampionPointer:
    bundle, files = make_bundle(intercept=intercept)
    return store.put_version(bundle, {"model.txt": files["model.txt"]})


def release(store: ModelStore, champion: ChampionPointer) -> None:
    current = store.champion()
    store.release(champion, expected_etag=current.etag if current else None)


@contextmanager
def api(home: Path, variables: dict[str, str]) -> Iterator[httpx.Client]:
    """Run the API in the serving environment, with its model store on S3."""
    port, log = free_port(), home / "api.log"
    settings = {
        "PLATFORM_HOME": str(home),
        "PLATFORM_API_PORT": str(port),
        "PLATFORM_MODELS_URL": "s3://models",
        "PLATFORM_DATA_DOCS_URL": "s3://data-docs",
        "PLATFORM_MODEL_POLL_SECONDS": "0.1",
    }
    process = spawn(
        [str(HomeLayout(home).serving_python), "-m", "serving.app"],
        log=log,
        environment={**os.environ, **settings, **variables},
        directory=PROJECT_ROOT,
    )
    try:
        with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as client:

            def is_alive() -> bool:
                require_alive(process, "api", log)
                try:
                    return client.get("/health").is_success
                except httpx.TransportError:
                    return False

            wait_until(is_alive, timeout=60)
            yield client
    finally:
        stop_group(process, grace=10)


@pytest.mark.slow
def test_uses_each_release_without_a_failed_request(
    storage: Storage, store: ModelStore, tmp_path: Path
) -> None:
    first, second = put(store, 0.0), put(store, 2.0)
    release(store, first)
    with api(tmp_path, storage.environment("api")) as client:

        def is_in_use(champion: ChampionPointer) -> bool:
            response = client.post("/predict", json=PATIENT)
            response.raise_for_status()
            version = response.json()["model_version"]
            assert version in {first.model_version, second.model_version}
            return bool(version == champion.model_version)

        wait_until(lambda: client.get("/ready").is_success, timeout=60)
        assert is_in_use(first)
        release(store, second)
        wait_until(lambda: is_in_use(second), timeout=60)
        release(store, first)
        wait_until(lambda: is_in_use(first), timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "T0SECRET"}, "AWS_SECRET_ACCESS_KEY is not that of user api"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "user nobody does not exist: check AWS_ACCESS_KEY_ID"),
        ({"PLATFORM_MODELS_URL": "s3://lake"}, "user api may not do this in bucket lake"),
    ],
)
def test_ready_reports_why_the_storage_denies_access(
    storage: Storage, tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    with api(tmp_path, storage.environment("api") | changes) as client:
        wait_until(lambda: problem in client.get("/ready").text, timeout=60)
        response = client.get("/ready")
    assert response.status_code == 503
    assert "T0SECRET" not in response.text + (tmp_path / "api.log").read_text(encoding="utf-8")


def test_serves_the_data_docs_that_a_validation_has_stored(
    storage: Storage, tmp_path: Path
) -> None:
    report = report_of("run-on-s3")
    write_docs("s3://data-docs/site", report, empty_result(), storage.s3("pipeline"))
    secret = {"bucket_name": "data-docs", "object_name": "secret.html"}
    storage.client(ROOT).put_object(**secret, data=BytesIO(b"secret"), length=6)
    variables = {"PLATFORM_DATA_DOCS_URL": "s3://data-docs/site"}
    with api(tmp_path, storage.environment("api") | variables) as client:
        index = client.get("/data-docs", follow_redirects=True)
        assert f'href="{report.docs_link}"' in index.text
        page = client.get(f"/data-docs/{report.docs_link}")
        assert 'id="no_missing_age"' in page.text
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert page.headers["x-content-type-options"] == "nosniff"
        unchanged = {"if-none-match": page.headers["etag"]}
        assert client.get(f"/data-docs/{report.docs_link}", headers=unchanged).status_code == 304
        assert client.head(f"/data-docs/{report.docs_link}").status_code == 200
        others = (
            "missing.html",
            "validations/",
            "..%2fsecret.html",
            "%2e%2e/secret.html",
            "x" * 2000,
        )
        for path in others:
            assert client.get(f"/data-docs/{path}").status_code == 404, path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "T0SECRET"}, "AWS_SECRET_ACCESS_KEY is not that of user api"),
        ({"PLATFORM_DATA_DOCS_URL": "s3://nowhere"}, "in bucket nowhere, or it does not exist"),
    ],
)
def test_names_why_the_data_docs_cannot_be_read(
    storage: Storage, tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    with api(tmp_path, storage.environment("api") | changes) as client:
        answer = client.get("/data-docs/")
    assert answer.status_code == 503
    assert answer.json()["title"] == "Storage unavailable"
    assert problem in answer.json()["detail"]
    log = (tmp_path / "api.log").read_text(encoding="utf-8")
    assert "Data Docs cannot be read" in log
    assert "T0SECRET" not in answer.text + log
