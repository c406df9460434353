"""The API follows a champion on S3, as a user that may only read the models."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from diabetes_platform.contract.bundle import ChampionPointer, champion_key
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import require_alive, spawn, stop_group
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.storage import ROOT, Storage
from serving.tests.bundles import make_bundle

pytestmark = pytest.mark.integration

PATIENT = {
    "pregnancies": 6,
    "glucose": 148,
    "blood_pressure": 72,
    "skin_thickness": 35,
    "insulin": None,
    "bmi": 33.6,
    "diabetes_pedigree_function": 0.627,
    "age": 50,
}


@pytest.fixture
def store(storage: Storage) -> Iterator[ModelStore]:
    """The platform's own store, as the pipeline reaches it; its pointer is put back afterwards."""
    opened = ModelStore("s3://models", storage.s3("pipeline"))
    before = opened.champion()
    yield opened
    if before is None:
        storage.client(ROOT).remove_object(bucket_name="models", object_name=champion_key())
    else:
        release(opened, before.champion)


def put(store: ModelStore, intercept: float) -> ChampionPointer:
    bundle, files = make_bundle(intercept=intercept)
    return store.put_version(bundle, {"model.txt": files["model.txt"]})


def release(store: ModelStore, champion: ChampionPointer) -> None:
    current = store.champion()
    store.release(champion, expected_etag=current.etag if current else None)


@contextmanager
def api(home: Path, variables: dict[str, str]) -> Iterator[httpx.Client]:
    """Run the API in its own environment, its model store on S3."""
    port, log = free_port(), home / "api.log"
    settings = {
        "PLATFORM_HOME": str(home),
        "PLATFORM_API_PORT": str(port),
        "PLATFORM_MODELS_URL": "s3://models",
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

            def answers() -> bool:
                require_alive(process, "api", log)
                try:
                    return client.get("/health").is_success
                except httpx.TransportError:
                    return False

            wait_for(answers)
            yield client
    finally:
        stop_group(process, grace=10)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_release_is_taken_into_use_without_a_failed_answer(
    storage: Storage, store: ModelStore, tmp_path: Path
) -> None:
    first, second = put(store, 0.0), put(store, 2.0)
    release(store, first)
    with api(tmp_path, storage.environment("api")) as client:

        def in_use(champion: ChampionPointer) -> bool:
            answer = client.post("/predict", json=PATIENT)
            answer.raise_for_status()
            assert answer.json()["model_version"] in {first.model_version, second.model_version}
            return bool(answer.json()["model_version"] == champion.model_version)

        wait_for(lambda: client.get("/ready").is_success)
        assert in_use(first)
        release(store, second)
        wait_for(lambda: in_use(second))
        release(store, first)
        wait_for(lambda: in_use(first))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "T0SECRET"}, "AWS_SECRET_ACCESS_KEY is not that of user api"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "there is no user nobody: check AWS_ACCESS_KEY_ID"),
        ({"PLATFORM_MODELS_URL": "s3://lake"}, "user api may not do this in bucket lake"),
    ],
)
def test_ready_tells_what_the_storage_refuses(
    storage: Storage, tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    with api(tmp_path, storage.environment("api") | changed) as client:
        wait_for(lambda: told in client.get("/ready").text)
        answer = client.get("/ready")
    assert answer.status_code == 503
    assert "T0SECRET" not in answer.text + (tmp_path / "api.log").read_text(encoding="utf-8")
