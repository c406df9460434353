"""Shadow scores of a challenger, its release and its rollback, on real stores."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import dagster as dg
import pytest
from rich.console import Console

from diabetes_platform.contract.bundle import with_content_version
from diabetes_platform.contract.tables import SHADOW_SCORES
from diabetes_platform.definitions import build_definitions
from diabetes_platform.errors import FailedError
from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.commands.rollback import roll_back_model
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.orchestration.acceptance import ACCEPTABLE_CHECKS, Acceptance
from diabetes_platform_tests.defs.conftest import Platform
from diabetes_platform_tests.defs.live_patients import live_of
from diabetes_platform_tests.intakes import Row, changed, stream

pytestmark = [pytest.mark.integration, pytest.mark.slow]
UNLUCKY_SEED = 1
"""A model of it has a higher Brier score on the folds than the champion."""


def checks(result: dg.ExecuteInProcessResult) -> Mapping[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def run_job(platform: Platform, job: str, op: str, **config: object) -> dg.ExecuteInProcessResult:
    return (
        build_definitions(lambda: platform.settings)
        .resolve_job_def(job)
        .execute_in_process(
            instance=platform.instance,
            raise_on_error=False,
            run_config={"ops": {op: {"config": config}}},
            asset_selection=[dg.AssetKey(["model", "champion"])] if job == "batch" else None,
        )
    )


def other_patients() -> list[Row]:
    """People in whom a low glucose means the disease: all that the champion knows is wrong."""
    now = datetime.now(UTC)
    today = {"day": now.date().isoformat(), "written_at": now}
    return [
        changed(
            n,
            n,
            received_at=now,
            glucose=80.0 + n % 100,
            bmi=25.0 + n / 40,
            outcome=int(n % 100 < 50),
        )
        | today
        for n in range(1, 401)
    ]


def shadow_of(platform: Platform) -> list[dict[str, object]]:
    table = Lake(platform.settings.lake).table(SHADOW_SCORES).open().to_pyarrow_table()
    rows: list[dict[str, object]] = table.sort_by("intake_id").to_pylist()
    return rows


def release_with_threshold(platform: Platform, threshold: float) -> str:
    """Release the champion with another threshold, beside Dagster; returns its version."""
    store = ModelStore(platform.settings.models)
    current = store.champion()
    assert current is not None
    model = store.read(current.champion)
    other = with_content_version(replace(model.bundle, threshold=threshold))
    files = {name: model.files[name] for name in model.bundle.files}
    store.release(store.put_version(other, files), expected_etag=current.etag)
    return other.model_version


def test_the_first_model_is_compared_with_none(serving: Platform) -> None:
    shadow = serving.metadata("model/shadow")
    assert (shadow["dagster/row_count"], shadow["champion"]) == (0, "")
    assert shadow["challenger"] == serving.champion()
    assert serving.metadata("model/champion")["released"] is True


def test_both_models_score_the_same_live_patients(serving: Platform) -> None:
    live, champion = live_of(serving), serving.champion()
    live.stream([None] * 50)
    settings = serving.settings.model_copy(update={"model_seed": 7})
    challenged = Platform(settings, serving.instance)
    challenged.run_only("model/candidate")

    result = challenged.run_only("model/shadow")

    assert checks(result)["answers_are_plausible"]
    rows, challenger = shadow_of(serving), serving.metadata("model/candidate")["model_version"]
    assert len(rows) == 50
    assert {row["champion_version"] for row in rows} == {champion}
    assert {row["challenger_version"] for row in rows} == {challenger}
    by_champion = [row["champion_probability"] for row in rows]
    assert by_champion == pytest.approx(live.probabilities[:50].tolist())
    assert [row["challenger_probability"] for row in rows] != by_champion
    assert serving.champion() == champion, "only the champion answers"


def test_an_implausible_challenger_is_released_and_rolled_back_by_a_person(
    serving: Platform,
) -> None:
    first = serving.champion()
    stream(Lake(serving.settings.lake), *other_patients())
    # Their measurements are distributed unlike those of the source.
    reasons = dict.fromkeys(ACCEPTABLE_CHECKS, "patients of another clinic")

    result = serving.run(acceptance=Acceptance(accept=reasons, accepted_by="ada"))

    passed = checks(result)
    assert passed["beats_champion"]
    assert passed["beats_champion_on_newest_rows"]
    assert not passed["answers_are_plausible"]
    assert not result.success
    assert serving.champion() == first
    assert len(shadow_of(serving)) == 400

    result = run_job(serving, "batch", "model__champion")
    (failure,) = result.get_step_failure_events()
    assert "answers_are_plausible failed" in str(failure.step_failure_data.error)

    assert run_job(serving, "batch", "model__champion", despite_shadow=True).success
    second = serving.champion()
    assert second == serving.metadata("model/candidate")["model_version"] != first

    assert run_job(serving, "model_rollback", "roll_back_model", reason="too many alarms").success
    assert serving.champion() == first
    metadata = serving.metadata("model/champion")
    assert (metadata["model_version"], metadata["previous"]) == (first, second)
    assert ModelStore(serving.settings.models).withdrawn() == {second: "too many alarms"}

    assert serving.run().success
    assert serving.champion() == first
    assert (
        serving.metadata("model/champion")["decision"]
        == "not released: was withdrawn (too many alarms)"
    )

    assert run_job(
        serving, "model_rollback", "roll_back_model", reason="a mistake", version=second
    ).success
    assert serving.champion() == second


def test_a_candidate_no_better_than_the_champion_is_not_released_and_nothing_failed(
    serving: Platform,
) -> None:
    released = serving.champion()
    live_of(serving).stream([None] * 50)
    # Another draw of the trees: as good as the champion, so that luck alone would release it.
    settings = serving.settings.model_copy(update={"model_seed": UNLUCKY_SEED})

    result = Platform(settings, serving.instance).run()

    assert result.success
    assert serving.champion() == released
    candidate, champion = (serving.metadata(f"model/{name}") for name in ("candidate", "champion"))
    assert candidate["model_version"] != released == champion["model_version"]
    assert champion["released"] is False
    assert champion["decision"] == "not released: beats_champion failed"
    (lost,) = (check for check in result.get_asset_check_evaluations() if not check.passed)
    assert (lost.check_name, lost.severity) == ("beats_champion", dg.AssetCheckSeverity.WARN)
    assert shadow_of(serving) == []
    assert [
        check.description
        for check in result.get_asset_check_evaluations()
        if check.check_name == "answers_are_plausible"
    ] == ["Nothing to compare: the candidate is no better than the champion."]


def test_shadow_scores_of_another_champion_release_nothing(serving: Platform) -> None:
    settings = serving.settings.model_copy(update={"model_seed": 7})
    challenged = Platform(settings, serving.instance)
    challenged.run_only("model/candidate")
    other = release_with_threshold(serving, 0.9)
    challenged.run_only("model/shadow")

    result = run_job(challenged, "batch", "model__champion")

    (failure,) = result.get_step_failure_events()
    assert "model/shadow: champion_etag is " in str(failure.step_failure_data.error)
    assert serving.champion() == other


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"reason": "why not"}, "no earlier champion than"),
        (
            {"reason": "why not", "version": "0123456789ab"},
            "version 0123456789ab was not released before; allowed: none",
        ),
    ],
)
def test_without_another_champion_nothing_is_rolled_back(
    serving: Platform, config: dict[str, object], message: str
) -> None:
    released = serving.champion()
    result = run_job(serving, "model_rollback", "roll_back_model", **config)
    (failure,) = result.get_step_failure_events()
    assert message in str(failure.step_failure_data.error)
    assert serving.champion() == released
    assert ModelStore(serving.settings.models).withdrawn() == {}


def test_the_command_line_rolls_back_a_model(serving: Platform) -> None:
    store, first = ModelStore(serving.settings.models), serving.champion()
    stricter = release_with_threshold(serving, 0.9)
    assert serving.champion() == stricter != first

    console = Console(file=StringIO(), width=200)
    roll_back_model(serving.settings, serving.instance, console, version=None, reason="misses many")

    assert serving.champion() == first
    assert store.withdrawn() == {stricter: "misses many"}
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output.startswith(f"model {first} answers again; {stricter} is withdrawn")
    assert serving.metadata("model/champion")["previous"] == stricter

    with pytest.raises(FailedError, match=f"no earlier champion than {first}"):
        roll_back_model(serving.settings, serving.instance, console, version=None, reason="again")
