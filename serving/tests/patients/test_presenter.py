"""Stage latencies from the timestamps of a prediction, and the threshold of its model."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diabetes_platform.contract.bundle import BUNDLE_FILE
from diabetes_platform.contract.latency import TOTAL
from serving.app.champion import ChampionWatcher
from serving.app.metrics import ModelMetrics
from serving.app.patients.presenter import Presenter, latency_ms, stage_latencies
from serving.tests.bundles import make_bundle, release

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(milliseconds: float) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def row(**changes: Any) -> dict[str, Any]:
    timestamps = {
        "received_at": at(0),
        "outcome_recorded_at": None,
        "changed_at": at(4),
        "captured_at": at(14),
        "judged_at": at(34),
        "consumed_at": at(36),
        "scored_at": at(37),
        "stored_at": at(40.5),
    }
    return timestamps | changes


def milliseconds(prediction: dict[str, Any]) -> list[float | None]:
    return [stage["milliseconds"] for stage in stage_latencies(prediction)]


def test_latencies_are_differences_of_timestamps() -> None:
    assert milliseconds(row()) == [4, 10, 20, 2, 1, 3.5]
    assert latency_ms(row(), TOTAL) == 36.5


def test_stages_next_to_a_missing_timestamp_have_no_latency() -> None:
    assert milliseconds(row(judged_at=None)) == [4, 10, None, None, 1, 3.5]
    without = row()
    del without["judged_at"]
    assert milliseconds(without) == [4, 10, None, None, 1, 3.5]


def test_a_truncated_timestamp_does_not_make_a_latency_negative() -> None:
    assert milliseconds(row(received_at=at(4.7)))[0] == 0


def test_the_first_stage_of_a_later_outcome_starts_with_the_outcome() -> None:
    later = row(received_at=at(-1e9), outcome_recorded_at=at(1))
    assert milliseconds(later)[0] == 3
    not_yet_predicted = row(outcome_recorded_at=at(5000))
    assert milliseconds(not_yet_predicted)[0] == 4


def test_reads_a_threshold_again_after_an_unexpected_error(store: Path) -> None:
    bundle, files = make_bundle(threshold=0.25)
    release(store, bundle, {**files, BUNDLE_FILE: b"[" * 100_000})

    async def thresholds() -> None:
        presenter = Presenter(ChampionWatcher(str(store), ModelMetrics("diabetes"), poll_seconds=1))
        prediction = row(
            intake_id=1,
            source_lsn=2,
            model_version=bundle.model_version,
            result="Diabetes",
            probability=0.5,
            contributions={},
        )
        with pytest.raises(RecursionError):
            await presenter.prediction(prediction)
        release(store, bundle, files)
        assert (await presenter.prediction(prediction))["threshold"] == bundle.threshold

    asyncio.run(thresholds())
