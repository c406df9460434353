"""The `diabetes` command: its options, its messages and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from diabetes_platform.cli import app
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.local.api.client import example_patient
from diabetes_platform.local.ports import HOST, free_port


@pytest.fixture(autouse=True)
def stopped_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new home, and addresses at which nothing listens."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setenv("PLATFORM_API_URL", f"http://{HOST}:{free_port()}")
    monkeypatch.setenv("PLATFORM_DAGSTER_URL", f"http://{HOST}:{free_port()}")
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def options(patient: dict[str, float]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in patient.items()]


def test_predict_has_an_option_for_each_measurement_with_its_bounds() -> None:
    help_text = run("predict", "--help").output
    for field in FEATURES:
        assert f"--{field.name.replace('_', '-')}" in help_text
    assert "40 to 600 mg/dL" in help_text
    assert "outcome" not in help_text


def test_rejects_a_patient_outside_the_contract_with_all_reasons() -> None:
    result = run("predict", *options({**example_patient(), "age": 7, "glucose": float("nan")}))
    assert result.exit_code == 1
    assert "age is 7.0 (below minimum); allowed: 18 to 120 years" in result.stderr
    assert "glucose is nan (not finite); allowed: " in result.stderr


def test_predict_names_the_remedy_if_the_api_does_not_answer() -> None:
    result = run("predict", *options(example_patient()))
    assert result.exit_code == 3
    assert result.stderr.startswith("error: the API at ")
    assert result.stderr.endswith("does not answer: start it with `make demo`\n")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "--json"),
        ("[1]", "the JSON must be an object"),
        ('{"age": NaN}', "NaN is not a JSON number"),
    ],
)
def test_rejects_json_that_is_not_a_patient(document: str, message: str) -> None:
    result = run("predict", "--json", "-", stdin=document)
    assert (result.exit_code, message in result.output) == (2, True)


def test_rejects_a_patient_from_both_options_and_json(tmp_path: Path) -> None:
    document = tmp_path / "patient.json"
    document.write_text(json.dumps(example_patient()))
    assert run("predict", "--json", str(document)).exit_code == 3, "read, but nothing runs"
    assert run("predict", "--json", str(document), "--age=40").exit_code == 2
    assert run("predict", "--json", str(tmp_path / "none.json")).exit_code == 2


def test_training_set_requires_a_timestamp_with_time_zone(tmp_path: Path) -> None:
    rejected = run("training-set", "--at", "2026-11-01T00:00:00")
    assert (rejected.exit_code, "not a timestamp with a time zone" in rejected.output) == (2, True)
    missing = run("training-set", "--at", "2026-11-01T00:00:00Z")
    assert missing.exit_code == 1
    table = tmp_path / "lake/features/training_set"
    assert missing.stderr == f"error: {table}: no Delta table at this path\n"


def test_status_names_what_is_not_running() -> None:
    result = run("status")
    assert result.exit_code == 3
    assert "not running: platform, PostgreSQL, API, Dagster" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("PLATFORM_PORT_OFFSET", "-1"), ("PLATFORM_MODEL_SEED", "x")]
)
def test_names_an_invalid_setting_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    result = run("status")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: {name} is '{value}'")
    assert result.stderr.count("\n") == 1


def test_help_is_fast_because_no_heavy_library_is_imported() -> None:
    heavy = ("dagster", "pandas", "sqlalchemy", "pyspark", "great_expectations", "httpx")
    program = (
        "import sys; import diabetes_platform.cli\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["demo", "up", "materialize"])
def test_an_invalid_alert_url_stops_the_start_and_is_not_shown(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_ALERT_URLS", "json://127.0.0.1/x slak://user:T0SECRET@host")
    result = run(command)
    assert result.exit_code == 3
    assert result.stderr == (
        "error: PLATFORM_ALERT_URLS: URL 2 (slak://) is not a valid Apprise URL: "
        "see https://appriseit.com/services\n"
    )
    assert "T0SECRET" not in result.output


def test_a_removed_setting_stops_the_command_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLATFORM_ALERT_WEBHOOK_URL", "https://user:T0SECRET@host/x")
    result = run("status")
    assert result.exit_code == 3
    assert result.stderr == (
        "error: PLATFORM_ALERT_WEBHOOK_URL is not valid: replaced by PLATFORM_ALERT_URLS: "
        "see docs/how-to/add-an-alert-channel.md\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "rate is 0; allowed: above 0"),
        (["--for", "-1"], "seconds is -1"),
        (["--invalid", "two"], "share is 'two'; allowed: 0 to below 1, or 0% to below 100%"),
        (["--invalid", "60%", "--duplicates", "60%"], "are 120% together"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_rejects_an_invalid_load(arguments: list[str], message: str) -> None:
    result = run("load", *arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_load_requires_a_running_platform() -> None:
    result = run("load")
    assert (result.exit_code, "start it with `make up`" in result.output) == (3, True)
