"""Isolation of the validation: no values, requests or files leave it, and exits are caught."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import sql

from diabetes_platform.quality.validate import validate_staging
from diabetes_platform_tests.quality.outcomes import failed
from diabetes_platform_tests.quality.staged_batches import execute

pytestmark = pytest.mark.integration


def test_no_patient_value_leaves_the_warehouse(
    warehouse: str, docs_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    execute(
        warehouse,
        sql.SQL("UPDATE staging.patients SET bmi = 731.4159 WHERE record_id LIKE '%5'"),
        sql.SQL("UPDATE staging.patients SET outcome = 7351 WHERE record_id LIKE '%6'"),
        sql.SQL("UPDATE staging.patients SET pregnancies = 9137 WHERE record_id LIKE '%7'"),
    )
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert {"bmi_in_range", "outcome_allowed", "pregnancies_in_range"} <= failed(report)
    written = [path.read_text(encoding="utf-8") for path in docs_dir.rglob("*") if path.is_file()]
    for text in (repr(report), caplog.text, *written):
        assert "731.4" not in text
        assert "7351" not in text
        assert "9137" not in text


SPY = """
import sys
from pathlib import Path

def spy(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print(event, arguments, file=sys.stderr)

sys.addaudithook(spy)
from diabetes_platform.quality.validate import validate_staging
report = validate_staging(sys.argv[1], Path(sys.argv[2]), "run-1")
print(report.passed, report.docs_link, {outcome.error for outcome in report.outcomes})
"""


def run_python(*arguments: str, work: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "HOME": str(home),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
        env=environment,
    )


@pytest.mark.slow
def test_opens_no_other_connection_and_writes_only_the_docs(
    warehouse: str, docs_dir: Path, tmp_path: Path
) -> None:
    home, work, script = tmp_path / "home", tmp_path / "work", tmp_path / "spy.py"
    home.mkdir()
    work.mkdir()
    script.write_text(SPY, encoding="utf-8")
    done = run_python(str(script), warehouse, str(docs_dir), work=work, home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True validations/run-1.html {None}\n"
    assert not list(home.rglob("*"))
    assert not list(work.rglob("*"))
    assert {path.name for path in docs_dir.iterdir()} == {"index.html", "validations"}


def test_an_import_that_calls_exit_fails_every_expectation(
    warehouse: str, docs_dir: Path, tmp_path: Path
) -> None:
    # Under `python -c`, Spark's client calls sys.exit when Great Expectations imports it.
    done = run_python("-c", SPY, warehouse, str(docs_dir), work=tmp_path, home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("False None {'ImportError: Great Expectations ")
