"""Versions are immutable, tampered files are rejected, one of two releases wins."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import obstore
import pytest

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    BundleError,
    Calibration,
    ChampionPointer,
    bundle_key,
    dump_bundle,
    sha256,
    with_content_version,
)
from diabetes_platform.contract.fields import FEATURE_NAMES, fingerprint
from diabetes_platform.modelling.store import ModelStore, ModelStoreError, ReleaseConflictError
from diabetes_platform.settings import PROJECT_ROOT

Files = dict[str, bytes]


def model(number: int) -> tuple[Bundle, Files]:
    files = {MODEL_FILE: f"tree {number}\n".encode()}
    bundle = Bundle(
        model_version="",
        features=FEATURE_NAMES,
        calibration=Calibration(1.0, 0.0),
        threshold=0.3,
        metrics={},
        training={},
        contract_fingerprint=fingerprint(),
        libraries={},
        files={name: sha256(content) for name, content in files.items()},
    )
    return with_content_version(bundle), files


@pytest.fixture(params=["directory", "file URL", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    """The object store is obstore's in memory: conditional puts by ETag, as on S3."""
    urls = {
        "directory": str(tmp_path / "models"),
        "file URL": (tmp_path / "models with a space").as_uri(),
        "object store": "memory:///",
    }
    return ModelStore(urls[request.param])


def test_reads_a_version_as_written(store: ModelStore) -> None:
    bundle, files = model(1)
    pointer = store.put_version(bundle, files)
    version = store.read_version(bundle.model_version)
    assert version.bundle == bundle
    assert version.pointer == pointer
    assert version.files == {**files, BUNDLE_FILE: dump_bundle(bundle)}


def test_writing_a_version_twice_is_idempotent(store: ModelStore) -> None:
    assert store.put_version(*model(1)) == store.put_version(*model(1))


def test_does_not_overwrite_a_version_with_other_bytes(store: ModelStore) -> None:
    bundle, files = model(1)
    key = bundle_key(bundle.model_version, MODEL_FILE)
    obstore.put(store._store, key, b"other trees")
    with pytest.raises(ModelStoreError, match=r"model\.txt exists with SHA-256 .* never changes"):
        store.put_version(bundle, files)
    assert bytes(obstore.get(store._store, key).bytes()) == b"other trees"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda bundle, _: (bundle, {MODEL_FILE: b"?"}), r"model\.txt: SHA-256"),
        (lambda bundle, _: (bundle, {}), r"model\.txt: missing"),
        (lambda bundle, files: (replace(bundle, threshold=0.9), files), "model version is"),
    ],
    ids=["other trees", "no trees", "a changed bundle under its old name"],
)
def test_does_not_write_inconsistent_files(
    store: ModelStore, spoil: Callable[[Bundle, Files], tuple[Bundle, Files]], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        store.put_version(*spoil(*model(1)))


@pytest.mark.parametrize("name", [MODEL_FILE, BUNDLE_FILE])
def test_rejects_a_tampered_file(store: ModelStore, name: str) -> None:
    bundle, files = model(1)
    pointer = store.put_version(bundle, files)
    key = bundle_key(bundle.model_version, name)
    content = bytes(obstore.get(store._store, key).bytes())
    obstore.put(store._store, key, content.replace(b"1", b"2", 1))
    with pytest.raises(BundleError, match="SHA-256"):
        store.read(pointer)
    with pytest.raises(BundleError):
        store.read_version(bundle.model_version)


def test_an_incomplete_version_is_missing(store: ModelStore) -> None:
    bundle, files = model(1)
    obstore.put(store._store, bundle_key(bundle.model_version, MODEL_FILE), files[MODEL_FILE])
    with pytest.raises(ModelStoreError, match=r"bundle\.json: not in the model store"):
        store.read_version(bundle.model_version)


def test_has_no_champion_before_the_first_release(store: ModelStore) -> None:
    store.put_version(*model(1))
    assert store.champion() is None


def test_a_release_replaces_the_champion(store: ModelStore) -> None:
    first, second = (store.put_version(*model(number)) for number in (1, 2))
    etag = store.release(first, expected_etag=None)
    current = store.champion()
    assert current is not None
    assert (current.champion, current.etag) == (first, etag)
    store.release(second, expected_etag=etag)
    current = store.champion()
    assert current is not None
    assert current.champion == second


def test_rejects_a_release_with_an_old_etag(store: ModelStore) -> None:
    first, second, third = (store.put_version(*model(number)) for number in (1, 2, 3))
    etag = store.release(first, expected_etag=None)
    store.release(second, expected_etag=etag)
    for expected in (etag, None):
        with pytest.raises(ReleaseConflictError, match="another release was first"):
            store.release(third, expected_etag=expected)
    current = store.champion()
    assert current is not None
    assert current.champion == second


def test_does_not_release_an_incomplete_version(store: ModelStore) -> None:
    with pytest.raises(ModelStoreError, match="not in the model store"):
        store.release(ChampionPointer("0123456789ab", "0" * 64), expected_etag=None)
    assert store.champion() is None


@pytest.mark.parametrize("first_release", [True, False], ids=["first release", "later release"])
def test_one_of_many_concurrent_releases_wins(store: ModelStore, first_release: bool) -> None:
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
from diabetes_platform.contract.bundle import ChampionPointer
from diabetes_platform.modelling.store import ReleaseConflictError, ModelStore
url, etag, *versions = sys.argv[1:]
store = ModelStore(url)
pointer = store.read_version(versions[0]).pointer
print("ready", flush=True)
sys.stdin.readline()
try:
    store.release(pointer, expected_etag=etag)
    print("won")
except ReleaseConflictError:
    print("lost")
"""


def test_one_of_several_processes_wins_a_release_into_a_directory(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path))
    pointers = [store.put_version(*model(number)) for number in range(4)]
    etag = store.release(pointers[3], expected_etag=None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RELEASE, str(tmp_path), etag, pointer.model_version],
            cwd=PROJECT_ROOT,
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
    answers = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert sorted(answers) == ["lost", "lost", "won"]
    current = store.champion()
    assert current is not None
    assert current.champion == pointers[answers.index("won")]


def test_keeps_the_first_reason_of_a_withdrawal(store: ModelStore) -> None:
    assert store.withdrawn() == {}
    store.withdraw("0123456789ab", "too many alarms in März")
    store.withdraw("ba9876543210", "wrong units")
    store.withdraw("0123456789ab", "another reason")
    assert store.withdrawn() == {
        "0123456789ab": "too many alarms in März",
        "ba9876543210": "wrong units",
    }
