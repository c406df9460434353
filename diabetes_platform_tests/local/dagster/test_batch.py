"""A run in the process of a command: real Dagster runs of a small graph."""

import os
import signal
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.commands.runs import acceptance_of
from diabetes_platform.local.dagster.batch import (
    EXPECTATIONS_OP,
    REJECTED_ROWS_OP,
    Follower,
    RunOutcome,
    Step,
    batch_config,
    run_batch,
    run_config,
    select_assets,
)
from diabetes_platform.orchestration.acceptance import Acceptance

RAW = dg.AssetKey(["raw", "patients"])
SERVING = dg.AssetKey(["serving", "patients"])


INVALID_TEXT = "abc\nxyz"


class Source(dg.Config):
    source: str | None = None


def graph(
    *, fails: str = "", severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.Definitions:
    """Two assets with a blocking check between them; `fails` names the part that fails."""

    @dg.asset(key=RAW)
    def raw(config: Source) -> dg.MaterializeResult[None]:
        if fails == "raw":
            try:
                float(INVALID_TEXT)
            except ValueError as error:
                raise dg.Failure("it could not be read", allow_retries=False) from error
        if fails == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        return dg.MaterializeResult(metadata={"source": config.source})

    @dg.asset_check(asset=RAW, blocking=True)
    def no_missing_age() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=fails != "check",
            severity=severity,
            metadata={"unexpected_count": 2, "docs": dg.MetadataValue.url("http://docs")},
        )

    @dg.asset(key=SERVING, deps=[RAW])
    def serving() -> None: ...

    job = dg.define_asset_job("batch", executor_def=dg.in_process_executor)
    return dg.Definitions([raw, serving], asset_checks=[no_missing_age], jobs=[job])


def run(
    definitions: dg.Definitions,
    tmp_path: Path,
    *,
    source: str | None = None,
    select: str | None = None,
) -> tuple[RunOutcome, list[Step]]:
    ended: list[Step] = []
    with dg.instance_for_test() as instance:
        outcome = run_batch(
            definitions,
            instance,
            Follower(lambda _: None, ended.append),
            log=tmp_path / "logs" / "batch.log",
            source=source,
            select=select,
        )
        if source is not None:
            event = instance.get_latest_materialization_event(RAW)
            assert event is not None
            assert event.asset_materialization is not None
            assert event.asset_materialization.metadata["source"].value == source
    return outcome, ended


def test_reports_each_step_with_assets_checks_and_time(tmp_path: Path) -> None:
    outcome, ended = run(graph(), tmp_path)
    assert outcome.failures == []
    assert [step.title for step in ended] == [
        "raw/patients",
        "raw/patients_no_missing_age",
        "serving/patients",
    ]
    assert all(step.seconds is not None and step.seconds >= 0 for step in ended)
    (check,) = ended[1].checks
    assert (check.name, check.asset, check.passed) == ("no_missing_age", "raw/patients", True)


def test_a_step_takes_no_negative_time_when_the_clock_is_set_back() -> None:
    ended: list[Step] = []
    follower = Follower(lambda _: None, ended.append)
    with dg.instance_for_test() as instance:
        result = graph().resolve_job_def("batch").execute_in_process(instance=instance)
        events = instance.all_logs(result.run_id)
    for minutes, event in enumerate(events):
        follower(event._replace(timestamp=event.timestamp - 60 * minutes))
    assert [step.seconds for step in ended] == [0.0, 0.0, 0.0]


def test_a_failed_blocking_check_fails_and_stops_the_run(tmp_path: Path) -> None:
    outcome, ended = run(graph(fails="check"), tmp_path)
    assert outcome.failures == ["check no_missing_age of raw/patients: unexpected count 2"]
    assert "serving/patients" not in [step.title for step in ended]


def test_a_failed_check_with_severity_warn_does_not_fail_the_run(tmp_path: Path) -> None:
    outcome, ended = run(graph(fails="check", severity=dg.AssetCheckSeverity.WARN), tmp_path)
    assert outcome.failures == []
    assert [check.passed for step in ended for check in step.checks] == [False]
    assert ended[-1].title == "serving/patients"


def test_reports_the_innermost_cause_of_a_failed_step(tmp_path: Path) -> None:
    outcome, _ = run(graph(fails="raw"), tmp_path)
    assert outcome.failures == [
        f"raw/patients: ValueError: could not convert string to float: {INVALID_TEXT!r}"
    ]


def test_the_log_has_the_stack_trace_but_no_values_of_a_row(tmp_path: Path) -> None:
    outcome, _ = run(graph(fails="raw"), tmp_path)
    log = (tmp_path / "logs" / "batch.log").read_text()
    assert f"{outcome.run_id} STEP_FAILURE raw__patients" in log
    assert "ValueError, raised here:" in log
    assert "test_batch.py" in log
    assert "abc" not in log


def test_ctrl_c_raises_keyboard_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(graph(fails="interrupted"), tmp_path)


def test_passes_the_source_to_the_asset_that_reads_it(tmp_path: Path) -> None:
    outcome, _ = run(graph(), tmp_path, source="/data/other.csv")
    assert outcome.failures == []


def test_prints_no_events_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(graph(fails="raw"), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert run_config(None).keys() == {"loggers"}


ACCEPTANCE = Acceptance(accept={"row_count_not_collapsed": "a clinic closed"}, accepted_by="ada")


def test_passes_an_acceptance_to_the_steps_with_the_checks() -> None:
    config = batch_config("/data/other.csv", ACCEPTANCE)["ops"]
    assert isinstance(config, dict)
    assert set(config) == {"raw__patients", REJECTED_ROWS_OP, EXPECTATIONS_OP}
    job = build_definitions().resolve_job_def("batch")
    assert {REJECTED_ROWS_OP, EXPECTATIONS_OP} <= {node.name for node in job.nodes}
    assert batch_config(None) == {}


def test_an_acceptance_needs_the_checked_assets_in_the_selection() -> None:
    definitions = build_definitions()
    with pytest.raises(PlatformError, match="--accept needs quarantine/patients and staging"):
        select_assets(definitions, 'key:"staging/patients"', None, ACCEPTANCE)
    keys = select_assets(definitions, 'key:"quarantine/patients"+', None, ACCEPTANCE)
    assert dg.AssetKey(["staging", "patients"]) in keys


@pytest.mark.parametrize(
    ("checks", "reason", "message"),
    [
        (["age_in_range"], "old", "--accept: check age_in_range cannot be accepted"),
        (["row_count_not_collapsed"], None, "--accept row_count_not_collapsed needs --reason"),
        (["row_count_not_collapsed"], " ", "--accept row_count_not_collapsed needs --reason"),
        ([], "a clinic closed", "--reason is for --accept, which is missing"),
    ],
)
def test_rejects_an_acceptance_with_one_message(
    checks: list[str], reason: str | None, message: str
) -> None:
    with pytest.raises(PlatformError, match=message):
        acceptance_of(checks, reason)
    assert acceptance_of([], None) is None


def test_a_user_without_a_passwd_entry_is_named_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_001)
    acceptance = acceptance_of(["row_count_not_collapsed"], "a clinic closed")
    assert acceptance is not None
    assert acceptance.accepted_by == "user id 2000000001"


@pytest.mark.parametrize(
    ("select", "titles"),
    [
        ('key:"serving/patients"', ["serving/patients"]),
        (
            'key:"raw/patients"+',
            ["raw/patients", "raw/patients_no_missing_age", "serving/patients"],
        ),
        ("serving/patients", ["serving/patients"]),
    ],
)
def test_materializes_only_the_selected_assets(
    tmp_path: Path, select: str, titles: list[str]
) -> None:
    _, ended = run(graph(), tmp_path, select=select)
    assert [step.title for step in ended] == titles


@pytest.mark.parametrize("select", ['key:"no/such"', "no/such", "(("])
def test_rejects_an_empty_selection_with_the_available_assets(tmp_path: Path, select: str) -> None:
    with pytest.raises(PlatformError, match=r"--select") as refused:
        run(graph(), tmp_path, select=select)
    assert "\n" not in str(refused.value)


def test_rejects_a_source_that_no_selected_asset_reads(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="--source needs raw/patients"):
        run(graph(), tmp_path, source="/data/other.csv", select='key:"serving/patients"')
