"""A lake and a warehouse that outlive Dagster's database, or come from an earlier release."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.modelling.store import ModelStore
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.model.test_champion import release_with_threshold, run_job

pytestmark = pytest.mark.integration
PROCESSED = (
    "labels/patients",
    "statistics/patients",
    "cleaned/patients",
    "quarantine/patients",
    "staging/patients",
    "model/candidate",
)
NEW_METADATA = {"input_version", "asset_metadata"}


@pytest.fixture
def restored(serving: Platform) -> Iterator[Platform]:
    """The stores of a platform that ran one batch, beside an empty Dagster database."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(serving.settings, instance)


def processed(platform: Platform) -> set[str]:
    return {key for key in PROCESSED if platform.metadata(key)["processed"]}


def as_written_by_an_earlier_release(platform: Platform) -> None:
    """Remove what earlier releases did not write to the lake and the model store."""
    lake, models = Path(platform.settings.lake), Path(platform.settings.models)
    for log in lake.rglob("_delta_log/*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            info = action.get("commitInfo", {})
            removed = NEW_METADATA | ({"content_hash"} if "/raw/" in str(log) else set())
            for name in removed & info.keys():
                del info[name]
        log.write_text("".join(json.dumps(action) + "\n" for action in actions))
        # Its checksum is of the log before.
        log.with_suffix(".crc").unlink(missing_ok=True)
    (models / "diabetes" / "candidate.json").unlink()
    shutil.rmtree(models / "diabetes" / "releases")


def test_skips_unchanged_input_with_an_empty_dagster_database(restored: Platform) -> None:
    served, champion = restored.served(), restored.champion()

    result = restored.run()

    assert result.success
    assert processed(restored) == set()
    assert (restored.served(), restored.champion()) == (served, champion)
    cleaned = restored.metadata("cleaned/patients")
    assert (cleaned["dagster/row_count"], cleaned["accepted"], cleaned["rejected"]) == (768, 766, 2)
    assert cleaned["reasons"] == {"bmi:outlier": 1, "skin_thickness:outlier": 1}
    assert restored.metadata("model/candidate")["model_version"] == champion


@pytest.mark.slow
def test_materializes_single_assets_with_an_empty_dagster_database(restored: Platform) -> None:
    restored.forget_staging()

    assert restored.run_only("staging/patients", "serving/patients").success
    assert restored.run_only("features/training_set", "model/candidate").success
    assert restored.run_only("model/shadow", "model/champion").success

    assert restored.metadata("staging/patients")["processed"] is True
    assert restored.metadata("features/training_set")["raw_content_hash"]
    assert restored.metadata("model/champion")["released"] is False


@pytest.mark.slow
def test_follows_a_change_with_an_empty_dagster_database(
    restored: Platform, pima_with: Callable[..., Path]
) -> None:
    first = restored.served()

    restored.run(pima_with("without_first", lambda row, n: row if n else None))

    assert processed(restored) == set(PROCESSED) - {"labels/patients"}
    ((batch_id, rows),) = restored.served()
    assert (batch_id, rows) != first[0]
    assert rows == 765


@pytest.mark.slow
def test_returns_to_a_source_that_was_ingested_before(
    serving: Platform, pima_with: Callable[..., Path]
) -> None:
    first = str(serving.metadata("cleaned/patients")["batch_id"])
    serving.run(pima_with("without_first", lambda row, n: row if n else None))
    assert serving.metadata("cleaned/patients")["batch_id"] != first

    serving.run()

    assert serving.metadata("raw/patients")["added"] is False
    assert serving.metadata("cleaned/patients")["batch_id"] == first


@pytest.mark.slow
def test_recomputes_once_what_an_earlier_release_has_written(serving: Platform) -> None:
    served, champion = serving.served(), serving.champion()
    as_written_by_an_earlier_release(serving)

    assert serving.run().success

    assert processed(serving) == set(PROCESSED)
    assert [rows for _, rows in serving.served()] == [rows for _, rows in served]
    assert serving.champion() == champion
    assert serving.run().success
    assert processed(serving) == set()


@pytest.mark.slow
def test_stages_a_cleaned_table_of_an_earlier_release(serving: Platform) -> None:
    as_written_by_an_earlier_release(serving)
    serving.forget_staging()

    assert serving.run_only("staging/patients", "serving/patients").success

    assert serving.served() == [(serving.metadata("cleaned/patients")["batch_id"], 766)]


@pytest.mark.slow
def test_rolls_back_with_an_empty_dagster_database(restored: Platform) -> None:
    first = restored.champion()
    assert release_with_threshold(restored, 0.9) != first
    instance = dg.DagsterInstance.ephemeral()

    with instance:
        assert run_job(
            Platform(restored.settings, instance), "model_rollback", "roll_back_model", reason="x"
        ).success

    assert restored.champion() == first


@pytest.mark.slow
def test_rolls_back_to_a_release_that_only_the_event_log_has(serving: Platform) -> None:
    first = serving.champion()
    release_with_threshold(serving, 0.9)
    shutil.rmtree(Path(serving.settings.models) / "diabetes" / "releases")
    assert ModelStore(serving.settings.models).releases() == []

    assert run_job(serving, "model_rollback", "roll_back_model", reason="x").success

    assert serving.champion() == first
