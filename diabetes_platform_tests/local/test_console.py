"""Console output: the same information on a terminal and in a log file."""

import io
import re
from pathlib import Path

from rich.console import Console

from diabetes_platform.local.console import (
    Progress,
    facts_table,
    failure_line,
    model_rollback_line,
    prediction_table,
    rollback_line,
    success_lines,
    timings_table,
)
from diabetes_platform.local.dagster.batch import Check, RunOutcome, Step


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=terminal)


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def step(*checks: Check, error: str | None = None) -> Step:
    return Step("staging__patients", 0.0, 0.25, ["staging/patients"], list(checks), error)


def test_prints_a_step_as_one_line_with_its_time_and_checks() -> None:
    out = console()
    with Progress(out) as progress:
        progress.step_started(step())
        progress.step_ended(step(Check("no_missing_age", "staging/patients", True, True, "")))
    (line,) = output(out).splitlines()
    assert line.endswith("✓ staging/patients (0.25 s): 1 of 1 checks passed")


def test_names_failed_checks_and_marks_warnings() -> None:
    out = console()
    progress = Progress(out)
    error = Check("no_missing_age", "staging/patients", False, True, "2 rows")
    warning = Check("near_previous", "staging/patients", False, False, "")
    progress.step_ended(step(error, warning))
    lines = [line.strip() for line in output(out).splitlines()]
    assert lines[1].endswith("✗ check no_missing_age of staging/patients: 2 rows")
    assert lines[2].endswith("! check near_previous of staging/patients")


ROWS = "768 rows: 390 accepted, 378 rejected: insulin:not_a_number 374 (49.2 %, allowed 20.0 %)"


def rows_check(*, passed: bool, blocking: bool) -> Check:
    return Check("few_rows_rejected", "quarantine/patients", passed, blocking, ROWS)


def test_a_failure_begins_with_the_rows_and_their_reasons() -> None:
    check = rows_check(passed=False, blocking=True)
    outcome = RunOutcome("1", [step(check)], [str(check)])
    assert failure_line(outcome, Path("batch.log")) == (
        f"run 1 failed: {ROWS}; check few_rows_rejected of quarantine/patients (log: batch.log)"
    )
    other = RunOutcome("1", [step(rows_check(passed=False, blocking=False))], ["check has_rows"])
    assert failure_line(other, Path("batch.log")).startswith(f"run 1 failed: {ROWS}; check has")


def test_a_success_begins_with_the_rows_and_names_the_warnings() -> None:
    warning = Check("near_previous", "staging/patients", False, False, "")
    outcome = RunOutcome("1", [step(rows_check(passed=True, blocking=False), warning)], [])
    assert success_lines(outcome, 2.0) == [
        ROWS,
        "warnings: near_previous",
        "run 1 succeeded (2.0 s)",
    ]
    assert success_lines(RunOutcome("1", [step()], []), 2.0) == ["run 1 succeeded (2.0 s)"]


def test_a_success_says_that_nothing_was_trained() -> None:
    training = Step("features__training_set", 0.0, 0.1)
    lines = success_lines(RunOutcome("1", [training], []), 2.0)
    assert lines[0] == "not trained: too few outcomes; the released model stays"
    trained = Step("features__training_set", 0.0, 0.1, ["features/training_set"])
    assert len(success_lines(RunOutcome("1", [trained], []), 2.0)) == 1


def test_prints_markup_in_a_message_literally() -> None:
    out = console()
    Progress(out).say("[bold]x[/bold] [/]")
    assert "[bold]x[/bold] [/]" in output(out)


def test_the_table_contains_measured_times() -> None:
    out = console()
    with Progress(out) as progress, progress.measured("PostgreSQL"):
        pass
    progress.step_ended(step())
    out.print(timings_table(progress.timings, 12.345))
    text = output(out)
    assert [name for name, _ in progress.timings] == ["PostgreSQL", "staging/patients"]
    assert "12.35" in text or "12.34" in text


def test_shows_a_spinner_on_a_terminal() -> None:
    out = console(terminal=True)
    with Progress(out) as progress, progress.measured("PostgreSQL"):
        pass
    assert "\x1b[" in output(out)


def test_tables_contain_their_rows() -> None:
    out = console()
    out.print(
        facts_table([("Dagster", "http://127.0.0.1:3000")], "The platform is up", ("what", "where"))
    )
    out.print(prediction_table({"result": "Normal", "contributions": {"age": 0.5}}))
    assert re.search(r"what +│ where", output(out).replace("┃", "│"))
    assert "http://127.0.0.1:3000" in output(out)
    assert "age 0.5" in output(out)


def test_prints_a_failed_run_as_one_line() -> None:
    line = failure_line(
        RunOutcome("f00", [], ["check a", "raw/patients: no"]), Path("/logs/batch.log")
    )
    assert line == "run f00 failed: check a; raw/patients: no (log: /logs/batch.log)"


def test_a_model_rollback_names_the_released_and_the_withdrawn_version() -> None:
    line = model_rollback_line("0123456789ab", "ba9876543210")
    assert line == (
        "model 0123456789ab answers again; ba9876543210 is withdrawn and no batch releases it"
    )


def test_a_rollback_names_the_served_version() -> None:
    line = rollback_line(3, "0123abcd", 766)
    assert line.startswith("serving.patients is version 3 again")
    assert line.endswith("the released model stays")
