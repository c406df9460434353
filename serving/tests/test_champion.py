"""The watcher uses a new champion, and keeps the current model if the new one is unusable."""

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


class WatcherDriver:
    """A watcher of `store` that a test polls, and its metrics."""

    def __init__(self, store: Path, poll_seconds: float = 1e-9) -> None:
        self.metrics = Metrics()
        self.watcher = ChampionWatcher(str(store), self.metrics, poll_seconds=poll_seconds)

    def poll(self) -> str | None:
        """Poll once; return the version in use."""
        asyncio.run(self.watcher.poll())
        return self.watcher.current.bundle.model_version if self.watcher.current else None

    def count(self, sample: str, **labels: str) -> float:
        """Return the sum of the samples with these labels."""
        families = text_string_to_metric_families(self.metrics.exposition().decode())
        return sum(
            metric.value
            for family in families
            for metric in family.samples
            if metric.name == sample and metric.labels == labels
        )


@pytest.fixture
def driver(store: Path) -> WatcherDriver:
    """Return a watcher that uses the old model."""
    release(store, OLD, OLD_FILES)
    driver = WatcherDriver(store)
    assert driver.poll() == OLD.model_version
    return driver


def test_the_first_release_is_used_and_ends_the_problem(store: Path) -> None:
    driver = WatcherDriver(store)
    assert driver.poll() is None
    assert driver.watcher.problem == f"no model store at {store}: nothing released"
    store.mkdir(parents=True)
    assert driver.poll() is None
    assert "nothing released" in str(driver.watcher.problem)
    release(store, OLD, OLD_FILES)
    assert driver.poll() == OLD.model_version
    assert driver.watcher.problem is None


def test_uses_a_new_champion_and_a_rollback(driver: WatcherDriver, store: Path) -> None:
    release(store, NEW, NEW_FILES)
    assert driver.poll() == NEW.model_version
    point_at(store, OLD)
    assert driver.poll() == OLD.model_version
    assert driver.count("diabetes_api_model_reloads_total") == 3
    assert driver.count("diabetes_api_model_info", model_version=OLD.model_version) == 1
    assert driver.count("diabetes_api_model_info", model_version=NEW.model_version) == 0


def test_does_not_reload_an_unchanged_champion(driver: WatcherDriver) -> None:
    model = driver.watcher.current
    driver.poll()
    assert driver.watcher.current is model


def test_survives_a_first_model_that_ends_its_process(store: Path) -> None:
    release_process_ending_text(store)
    driver = WatcherDriver(store)
    assert driver.poll() is None
    assert "model.txt: LightGBM ends the process" in str(driver.watcher.problem)
    release(store, NEW, NEW_FILES)
    assert driver.poll() == NEW.model_version
    assert driver.watcher.problem is None


def tamper_with_model(store: Path) -> None:
    put_bundle(store, NEW, {**NEW_FILES, MODEL_FILE: NEW_FILES[MODEL_FILE] + b"\n"})
    point_at(store, NEW)


def tamper_with_bundle(store: Path) -> None:
    put_bundle(store, NEW, {**NEW_FILES, BUNDLE_FILE: NEW_FILES[BUNDLE_FILE] + b" "})
    point_at(store, NEW)


def tamper_with_pointer(store: Path) -> None:
    put_bundle(store, NEW, NEW_FILES)
    write(store / champion_key(), dump_champion(ChampionPointer(NEW.model_version, "0" * 64)))


def write_invalid_json_pointer(store: Path) -> None:
    write(store / champion_key(), b"{")


def point_outside_store(store: Path) -> None:
    champion = ChampionPointer("../../etc", champion_of(NEW).bundle_sha256)
    write(store / champion_key(), dump_champion(champion))


def list_file_outside_store(store: Path) -> None:
    forged = replace(NEW, files={**NEW.files, "../../../etc/passwd": "0" * 64})
    release(store, forged, {**NEW_FILES, BUNDLE_FILE: dump_bundle(forged)})


def rename_bundle(store: Path) -> None:
    forged = renamed(NEW, "cafecafecafe")
    put_bundle(store, forged, NEW_FILES)
    champion = ChampionPointer(forged.model_version, sha256(NEW_FILES[BUNDLE_FILE]))
    write(store / champion_key(), dump_champion(champion))


def omit_model(store: Path) -> None:
    release(store, NEW, {BUNDLE_FILE: NEW_FILES[BUNDLE_FILE]})


def release_process_ending_text(store: Path) -> None:
    release(store, *make_bundle(text=model_text().replace("leaf_value=", "leaf_value=nan ", 1)))


def release_for_another_contract(store: Path) -> None:
    release(store, *make_bundle(contract_fingerprint="f" * 64))


UNUSABLE = [
    (tamper_with_model, "model.txt: SHA-256"),
    (tamper_with_bundle, "bundle.json: SHA-256"),
    (tamper_with_pointer, "bundle.json: SHA-256"),
    (write_invalid_json_pointer, "champion.json: not JSON"),
    (point_outside_store, "name in the model store is '../../etc'"),
    (list_file_outside_store, "name in the model store is '../../../etc/passwd'"),
    (rename_bundle, "model version"),
    (release_process_ending_text, "model.txt: LightGBM ends the process"),
    (omit_model, "a file is missing"),
    (release_for_another_contract, "contract fingerprint"),
]


@pytest.mark.parametrize(
    ("break_release", "problem"), UNUSABLE, ids=[function.__name__ for function, _ in UNUSABLE]
)
def test_rejects_an_unusable_champion_and_keeps_the_current_model(
    driver: WatcherDriver, store: Path, break_release: Callable[[Path], None], problem: str
) -> None:
    break_release(store)
    assert driver.poll() == OLD.model_version
    assert problem in str(driver.watcher.problem)
    assert driver.count("diabetes_api_model_reload_failures_total", reason="refused") == 1


def test_logs_a_rejected_champion_once(
    driver: WatcherDriver, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release_for_another_contract(store)
    with caplog.at_level(logging.WARNING, "serving"):
        for _ in range(5):
            driver.poll()
    assert len(caplog.records) == 1
    assert OLD.model_version in caplog.text


def test_uses_a_repaired_bundle_without_a_new_pointer(driver: WatcherDriver, store: Path) -> None:
    tamper_with_model(store)
    assert driver.poll() == OLD.model_version
    put_bundle(store, NEW, NEW_FILES)
    assert driver.poll() == NEW.model_version
    assert driver.watcher.problem is None


def test_does_not_read_a_rejected_bundle_at_every_poll(store: Path) -> None:
    driver = WatcherDriver(store, poll_seconds=30)
    tamper_with_model(store)
    for _ in range(3):
        assert driver.poll() is None
    assert driver.count("diabetes_api_model_reload_failures_total", reason="refused") == 1


def test_a_rollback_to_the_current_model_ends_the_problem(
    driver: WatcherDriver, store: Path
) -> None:
    tamper_with_model(store)
    driver.poll()
    point_at(store, OLD)
    assert driver.poll() == OLD.model_version
    assert driver.watcher.problem is None


def test_keeps_the_current_model_when_the_pointer_is_missing(
    driver: WatcherDriver, store: Path
) -> None:
    (store / champion_key()).unlink()
    assert driver.poll() == OLD.model_version
    assert "nothing released" in str(driver.watcher.problem)
    point_at(store, OLD)
    driver.poll()
    assert driver.watcher.problem is None


def test_reports_an_unreadable_store(driver: WatcherDriver, store: Path) -> None:
    pointer = store / champion_key()
    pointer.unlink()
    pointer.mkdir()
    assert driver.poll() == OLD.model_version
    assert driver.count("diabetes_api_model_reload_failures_total", reason="unreadable") == 1


def test_reports_an_invalid_url() -> None:
    watcher = ChampionWatcher("nonsense://models", Metrics(), poll_seconds=1)
    asyncio.run(watcher.poll())
    assert watcher.current is None
    assert watcher.problem not in {None, "The model store has not been read yet."}


def test_reports_an_s3_endpoint_that_does_not_respond() -> None:
    s3 = S3(f"http://127.0.0.1:{free_port()}", "api", "T0SECRET")
    watcher = ChampionWatcher("s3://models", Metrics(), poll_seconds=1, s3=s3)
    asyncio.run(watcher.poll())
    problem = f"s3://models at {s3.endpoint}: the endpoint does not answer"
    assert str(watcher.problem).startswith(problem)


def test_follows_an_object_store() -> None:
    store = MemoryStore()
    for name, content in NEW_FILES.items():
        store.put(bundle_key(NEW.model_version, name), content)
    store.put(champion_key(), dump_champion(champion_of(NEW)))
    watcher = ChampionWatcher("memory://", Metrics(), poll_seconds=1)
    watcher._store = store
    asyncio.run(watcher.poll())
    assert watcher.current is not None
    assert watcher.current.bundle == NEW


def test_does_not_open_a_passed_model_in_a_subprocess(store: Path) -> None:
    release(store, OLD, OLD_FILES)
    model = open_model(champion_of(OLD), OLD_FILES)
    watcher = ChampionWatcher(str(store), Metrics(), poll_seconds=1, model=model)
    assert watcher._safe_to_open == {champion_of(OLD)}
    asyncio.run(watcher.poll())
    assert watcher.problem is None
