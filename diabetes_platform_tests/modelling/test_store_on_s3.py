"""The model store on a real S3 endpoint: versions are written once, one of two releases wins."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import BaseError

from diabetes_platform.contract.bundle import (
    MODEL_FILE,
    Bundle,
    ChampionPointer,
    bundle_key,
    with_content_version,
)
from diabetes_platform.contract.s3 import PermanentStorageError, StorageUnavailableError
from diabetes_platform.modelling.store import ModelStore, ModelStoreError, ReleaseConflictError
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.modelling.test_store import Files, model
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = pytest.mark.integration


def unique_model() -> tuple[Bundle, Files]:
    """A model whose version no other test writes."""
    bundle, files = model(1)
    return with_content_version(dataclasses.replace(bundle, training={"run": uuid4().hex})), files


@pytest.fixture
def store(storage: Storage) -> ModelStore:
    """The platform's own store, as the pipeline reaches it."""
    return ModelStore("s3://models", storage.s3("pipeline"))


@pytest.fixture
def bucket(storage: Storage) -> Iterator[str]:
    """The URL of an empty bucket, which only the root user reaches."""
    with storage.bucket() as name:
        yield f"s3://{name}"


def test_reads_a_version_as_written(store: ModelStore) -> None:
    bundle, files = unique_model()
    pointer = store.put_version(bundle, files)
    assert store.put_version(bundle, files) == pointer
    version = store.read_version(bundle.model_version)
    assert (version.bundle, version.pointer) == (bundle, pointer)


def test_the_bucket_policy_forbids_overwriting_a_version(store: ModelStore) -> None:
    bundle, files = unique_model()
    store.put_version(bundle, files)
    with pytest.raises(BaseError, match="MaxVersionsExceeded"):
        obstore.put(store._store, bundle_key(bundle.model_version, MODEL_FILE), b"other trees")
    assert store.read_version(bundle.model_version).bundle == bundle


def test_rejects_a_release_with_an_old_etag(storage: Storage, bucket: str) -> None:
    store = ModelStore(bucket, storage.s3(ROOT))
    first, second, third = (store.put_version(*model(number)) for number in (1, 2, 3))
    assert store.champion() is None
    etag = store.release(first, expected_etag=None)
    store.release(second, expected_etag=etag)
    for expected in (etag, None):
        with pytest.raises(ReleaseConflictError, match="another release was first"):
            store.release(third, expected_etag=expected)
    current = store.champion()
    assert current is not None
    assert current.champion == second


@pytest.mark.parametrize("first_release", [True, False], ids=["first release", "later release"])
def test_one_of_many_concurrent_releases_wins(
    storage: Storage, bucket: str, first_release: bool
) -> None:
    store = ModelStore(bucket, storage.s3(ROOT))
    pointers = [store.put_version(*model(number)) for number in range(9)]
    etag = None if first_release else store.release(pointers[8], expected_etag=None)

    def won(pointer: ChampionPointer) -> bool:
        try:
            store.release(pointer, expected_etag=etag)
        except ReleaseConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(won, pointers[:8]))
    assert results.count(True) == 1
    current = store.champion()
    assert current is not None
    assert current.champion == pointers[results.index(True)]


RELEASE = """
import sys
from diabetes_platform.modelling.store import ReleaseConflictError, ModelStore
from diabetes_platform.settings import PlatformSettings
settings = PlatformSettings()
store = ModelStore(settings.models, settings.s3)
etag, version = sys.argv[1:]
pointer = store.read_version(version).pointer
print("ready", flush=True)
sys.stdin.readline()
try:
    store.release(pointer, expected_etag=etag)
    print("won")
except ReleaseConflictError:
    print("lost")
"""


def test_one_of_several_concurrent_processes_wins(storage: Storage, bucket: str) -> None:
    store = ModelStore(bucket, storage.s3(ROOT))
    pointers = [store.put_version(*model(number)) for number in range(4)]
    etag = store.release(pointers[3], expected_etag=None)
    variables = {**storage.environment(ROOT), "PLATFORM_MODELS_URL": bucket}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RELEASE, etag, pointer.model_version],
            cwd=PROJECT_ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for pointer in pointers[:3]
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(answers) == ["lost", "lost", "won"]
    current = store.champion()
    assert current is not None
    assert current.champion == pointers[answers.index("won")]


def test_a_missing_bucket_is_an_error_and_not_an_empty_store(storage: Storage) -> None:
    store = ModelStore("s3://nowhere", storage.s3(ROOT))
    with pytest.raises(
        PermanentStorageError, match=r"^s3://nowhere at .*: bucket nowhere does not exist"
    ):
        store.champion()


def test_reports_a_storage_error_in_one_line(storage: Storage) -> None:
    bundle, files = unique_model()
    for s3, kind, message in (
        (storage.s3("api"), PermanentStorageError, "user api may not do this in bucket models"),
        (
            dataclasses.replace(storage.s3("pipeline"), secret="T0SECRET"),
            PermanentStorageError,
            "AWS_SECRET_ACCESS_KEY is not that of user pipeline",
        ),
        (
            dataclasses.replace(storage.s3("pipeline"), endpoint="http://127.0.0.1:9"),
            StorageUnavailableError,
            "the endpoint does not answer",
        ),
    ):
        with pytest.raises(kind) as raised:
            ModelStore("s3://models", s3).put_version(bundle, files)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)
        assert "T0SECRET" not in str(raised.value)


def test_names_a_missing_version(store: ModelStore) -> None:
    with pytest.raises(ModelStoreError, match=r"bundle\.json: not in the model store"):
        store.read_version("0123456789ab")
