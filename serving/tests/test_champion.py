"""The champion is followed, and whatever is wrong with a newer model, the one in use stays."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from prometheus_client.parser import text_string_to_metric_families

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    ChampionPointer,
    bundle_key,
    champion_key,
    dump_bundle,
    dump_champion,
    sha256,
)
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.s3 import S3
from serving.app.champion import ChampionWatcher
from serving.app.metrics import Metrics
from serving.app.served_model import open_model
from serving.tests.bundles import (
    champion_of,
    make_bundle,
    model_text,
    point_at,
    put_bundle,
    release,
    renamed,
    write,
)
from serving.tests.conftest import free_port

OLD, OLD_FILES = make_bundle()
NEW, NEW_FILES = make_bundle(intercept=2.0)


class Watched:
    """A watcher of `store` that looks when it is told."""

    def __init__(self, store: Path, poll_seconds: float = 1e-9) -> None:
        self.metrics = Metrics()
        self.watcher = ChampionWatcher(str(store), self.metrics, poll_seconds=poll_seconds)

    def look(self) -> str | None:
        """Look once; return the version in use."""
        asyncio.run(self.watcher.poll())
        return self.watcher.current.bundle.model_version if self.watcher.current else None

    def count(self, sample: str, **labels: str) -> float:
        """Return the value of one metric."""
        families = text_string_to_metric_families(self.metrics.exposition().decode())
        found = [
            one.value
            for family in families
            for one in family.samples
            if one.name == sample and one.labels == labels
        ]
        return sum(found)


@pytest.fixture
def watched(store: Path) -> Watched:
    """Return a watcher that uses the old model."""
    release(store, OLD, OLD_FILES)
    watched = Watched(store)
    assert watched.look() == OLD.model_version
    return watched


def test_an_empty_store_is_no_fault_of_the_server(store: Path) -> None:
    watched = Watched(store)
    assert watched.look() is None
    assert watched.watcher.problem == f"no model store at {store}: nothing released"
    store.mkdir(parents=True)
    assert watched.look() is None
    assert "nothing released" in str(watched.watcher.problem)
    release(store, OLD, OLD_FILES)
    assert watched.look() == OLD.model_version
    assert watched.watcher.problem is None


def test_a_new_champion_is_taken_into_use_and_a_rollback_too(watched: Watched, store: Path) -> None:
    release(store, NEW, NEW_FILES)
    assert watched.look() == NEW.model_version
    point_at(store, OLD)
    assert watched.look() == OLD.model_version
    assert watched.count("diabetes_api_model_reloads_total") == 3
    assert watched.count("diabetes_api_model_info", model_version=OLD.model_version) == 1
    assert watched.count("diabetes_api_model_info", model_version=NEW.model_version) == 0


def test_an_unchanged_pointer_loads_nothing(watched: Watched) -> None:
    before = watched.watcher.current
    watched.look()
    assert watched.watcher.current is before


def test_a_first_text_that_ends_lightgbm_does_not_end_the_api(store: Path) -> None:
    release_a_text_that_ends_lightgbm(store)
    watched = Watched(store)
    assert watched.look() is None
    assert "model.txt: LightGBM ends the process" in str(watched.watcher.problem)
    release(store, NEW, NEW_FILES)
    assert watched.look() == NEW.model_version
    assert watched.watcher.problem is None


def tamper_with_the_model(store: Path) -> None:
    put_bundle(store, NEW, {**NEW_FILES, MODEL_FILE: NEW_FILES[MODEL_FILE] + b"\n"})
    point_at(store, NEW)


def tamper_with_the_bundle(store: Path) -> None:
    put_bundle(store, NEW, {**NEW_FILES, BUNDLE_FILE: NEW_FILES[BUNDLE_FILE] + b" "})
    point_at(store, NEW)


def tamper_with_the_pointer(store: Path) -> None:
    put_bundle(store, NEW, NEW_FILES)
    write(store / champion_key(), dump_champion(ChampionPointer(NEW.model_version, "0" * 64)))


def write_a_pointer_that_is_no_json(store: Path) -> None:
    write(store / champion_key(), b"{")


def point_outside_the_store(store: Path) -> None:
    champion = ChampionPointer("../../etc", champion_of(NEW).bundle_sha256)
    write(store / champion_key(), dump_champion(champion))


def list_a_file_outside_the_store(store: Path) -> None:
    forged = replace(NEW, files={**NEW.files, "../../../etc/passwd": "0" * 64})
    release(store, forged, {**NEW_FILES, BUNDLE_FILE: dump_bundle(forged)})


def rename_a_bundle(store: Path) -> None:
    forged = renamed(NEW, "cafecafecafe")
    put_bundle(store, forged, NEW_FILES)
    champion = ChampionPointer(forged.model_version, sha256(NEW_FILES[BUNDLE_FILE]))
    write(store / champion_key(), dump_champion(champion))


def leave_out_the_model(store: Path) -> None:
    release(store, NEW, {BUNDLE_FILE: NEW_FILES[BUNDLE_FILE]})


def release_a_text_that_ends_lightgbm(store: Path) -> None:
    release(store, *make_bundle(text=model_text().replace("leaf_value=", "leaf_value=nan ", 1)))


def release_for_a_foreign_contract(store: Path) -> None:
    release(store, *make_bundle(contract_fingerprint="f" * 64))


REFUSED = [
    (tamper_with_the_model, "model.txt: SHA-256"),
    (tamper_with_the_bundle, "bundle.json: SHA-256"),
    (tamper_with_the_pointer, "bundle.json: SHA-256"),
    (write_a_pointer_that_is_no_json, "champion.json: not JSON"),
    (point_outside_the_store, "name in the model store is '../../etc'"),
    (list_a_file_outside_the_store, "name in the model store is '../../../etc/passwd'"),
    (rename_a_bundle, "model version"),
    (release_a_text_that_ends_lightgbm, "model.txt: LightGBM ends the process"),
    (leave_out_the_model, "a file is missing"),
    (release_for_a_foreign_contract, "contract fingerprint"),
]


@pytest.mark.parametrize(("harm", "why"), REFUSED, ids=[harm.__name__ for harm, _ in REFUSED])
def test_what_cannot_be_trusted_is_refused_and_the_old_model_stays(
    watched: Watched, store: Path, harm: Callable[[Path], None], why: str
) -> None:
    harm(store)
    assert watched.look() == OLD.model_version
    assert why in str(watched.watcher.problem)
    assert watched.count("diabetes_api_model_reload_failures_total", reason="refused") == 1


def test_a_refusal_is_logged_once(
    watched: Watched, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release_for_a_foreign_contract(store)
    with caplog.at_level(logging.WARNING, "serving"):
        for _ in range(5):
            watched.look()
    assert len(caplog.records) == 1
    assert OLD.model_version in caplog.text


def test_a_repaired_bundle_is_taken_into_use_without_a_new_pointer(
    watched: Watched, store: Path
) -> None:
    tamper_with_the_model(store)
    assert watched.look() == OLD.model_version
    put_bundle(store, NEW, NEW_FILES)
    assert watched.look() == NEW.model_version
    assert watched.watcher.problem is None


def test_a_refused_bundle_is_not_read_again_at_every_look(store: Path) -> None:
    watched = Watched(store, poll_seconds=30)
    tamper_with_the_model(store)
    for _ in range(3):
        assert watched.look() is None
    assert watched.count("diabetes_api_model_reload_failures_total", reason="refused") == 1


def test_a_return_to_the_model_in_use_ends_the_problem(watched: Watched, store: Path) -> None:
    tamper_with_the_model(store)
    watched.look()
    point_at(store, OLD)
    assert watched.look() == OLD.model_version
    assert watched.watcher.problem is None


def test_a_lost_pointer_takes_no_model_away(watched: Watched, store: Path) -> None:
    (store / champion_key()).unlink()
    assert watched.look() == OLD.model_version
    assert "nothing released" in str(watched.watcher.problem)
    point_at(store, OLD)
    watched.look()
    assert watched.watcher.problem is None


def test_an_unreadable_store_is_told(watched: Watched, store: Path) -> None:
    pointer = store / champion_key()
    pointer.unlink()
    pointer.mkdir()
    assert watched.look() == OLD.model_version
    assert watched.count("diabetes_api_model_reload_failures_total", reason="unreadable") == 1


def test_a_url_that_names_no_store_is_told() -> None:
    watcher = ChampionWatcher("nonsense://models", Metrics(), poll_seconds=1)
    asyncio.run(watcher.poll())
    assert watcher.current is None
    assert watcher.problem not in {None, "The model store has not been read yet."}


def test_an_endpoint_of_s3_that_does_not_answer_is_told() -> None:
    nobody = S3(f"http://127.0.0.1:{free_port()}", "api", "T0SECRET")
    watcher = ChampionWatcher("s3://models", Metrics(), poll_seconds=1, s3=nobody)
    asyncio.run(watcher.poll())
    told = f"s3://models at {nobody.endpoint}: the endpoint does not answer"
    assert str(watcher.problem).startswith(told)


def test_an_object_store_is_followed_like_a_folder() -> None:
    store = MemoryStore()
    for name, content in NEW_FILES.items():
        store.put(bundle_key(NEW.model_version, name), content)
    store.put(champion_key(), dump_champion(champion_of(NEW)))
    watcher = ChampionWatcher("memory://", Metrics(), poll_seconds=1)
    watcher._store = store
    asyncio.run(watcher.poll())
    assert watcher.current is not None
    assert watcher.current.bundle == NEW


def test_a_model_that_is_open_from_the_start_needs_no_trial(store: Path) -> None:
    release(store, OLD, OLD_FILES)
    model = open_model(champion_of(OLD), OLD_FILES, contract_fingerprint=fingerprint())
    watcher = ChampionWatcher(str(store), Metrics(), poll_seconds=1, model=model)
    assert watcher._safe_to_open == {champion_of(OLD)}
    asyncio.run(watcher.poll())
    assert watcher.problem is None
