"""A field added to a platform with data in every store, and a field that is removed or retyped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform_tests import grown_platform
from diabetes_platform_tests.earlier_stores import restore_warehouse, unpack_stores
from diabetes_platform_tests.grown_contract import (
    FIELD,
    NAME,
    add_field,
    add_migration,
    copy_project,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PROGRAM = Path(grown_platform.__file__)
UPGRADE = (
    "import sys; from diabetes_platform.warehouse.migrate import upgrade; upgrade(sys.argv[1])"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the platform's package, which a test may change."""
    directory = tmp_path / "copy"
    directory.mkdir()
    copy_project(directory, "diabetes_platform")
    return directory


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the copy."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_old_and_new_records_stand_side_by_side_in_every_store(
    copy: Path, tmp_path: Path, database_url: str
) -> None:
    lake, models = unpack_stores(tmp_path)
    restore_warehouse(database_url)
    add_field(copy)
    add_migration(copy)
    program = run(copy, str(PROGRAM), str(lake), str(models), database_url)
    assert program.returncode == 0, program.stderr
    result = json.loads(program.stdout.splitlines()[-1])
    assert result["raw grown"] == {"missing": 0, "present": 600}, "empty text is not NULL"
    assert result["raw earlier"] == {"missing": 600, "present": 0}
    assert result["raw"] == {"missing": 768 + 600, "present": 600}
    assert result["failed grown"] == []
    assert result["failed earlier"] == [], "expectations of a field without values do not apply"
    assert result["stream"] == {"missing": 14, "present": 1}
    assert result["labels"] == {"missing": 5, "present": 1}
    assert result["public.diabetes_new"] == {"missing": 12, "present": 1}
    served = result["serving.patients"]
    assert served["present"] > 200
    assert served["missing"] > 200
    versions = result["serving.patient_versions"]
    assert versions["missing"] > served["missing"] + 766
    assert result["training set"] == served
    assert result["model features"] == list(FEATURE_NAMES), "the champion is from before the field"
    assert result["scored"] == sum(served.values())


def test_rejects_a_field_without_its_migration(copy: Path, database_url: str) -> None:
    add_field(copy)
    program = run(copy, "-c", UPGRADE, database_url)
    assert program.returncode == 1
    *_, message = program.stderr.splitlines()
    assert f"public.diabetes_new.{NAME} is no such column, the contract has double" in message
    assert "A new field needs a migration" in message


def test_an_incomplete_migration_changes_nothing_and_can_be_corrected(
    copy: Path, database_url: str
) -> None:
    assert run(copy, "-c", UPGRADE, database_url).returncode == 0
    add_field(copy)
    revision = add_migration(copy)
    versions = copy / "diabetes_platform/warehouse/migrations/versions"
    migration = versions / f"{revision}_{NAME}.py"
    complete = migration.read_text(encoding="utf-8")
    column = f'    ("staging.patients", "{NAME}_normed double precision"),\n'
    assert column in complete
    migration.write_text(complete.replace(column, ""), encoding="utf-8")
    program = run(copy, "-c", UPGRADE, database_url)
    assert program.returncode == 1
    *_, message = program.stderr.splitlines()
    assert f"staging.patients.{NAME}_normed is no such column" in message
    migration.write_text(complete, encoding="utf-8")
    program = run(copy, "-c", UPGRADE, database_url)
    assert program.returncode == 0, program.stderr


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("", f"column {NAME} is not in the contract"),
        (
            FIELD.replace('"number"', '"integer"').replace("5.7", "6"),
            f"{NAME} has type double, in the contract integer",
        ),
    ],
    ids=["removed", "retyped"],
)
def test_rejects_a_stored_field_that_is_removed_or_retyped(
    copy: Path, tmp_path: Path, database_url: str, definition: str, message: str
) -> None:
    lake, _ = unpack_stores(tmp_path)
    add_field(copy)
    add_migration(copy)
    assert run(copy, "-c", UPGRADE, database_url).returncode == 0
    creation = run(
        copy,
        "-c",
        "import sys; from diabetes_platform.lake.delta import *;"
        "from diabetes_platform.contract.tables import *;"
        "[Lake(sys.argv[1]).table(t).create(t) for t in (CLEANED_PATIENTS, STREAM_PATIENTS)]",
        str(lake),
    )
    assert creation.returncode == 0, creation.stderr
    fields = copy / "diabetes_platform/contract/fields.py"
    fields.write_text(fields.read_text().replace(FIELD, definition))
    rejected = run(
        copy,
        "-c",
        "import sys; from diabetes_platform.lake.delta import *;"
        "from diabetes_platform.contract.tables import *;"
        "Lake(sys.argv[1]).table(STREAM_PATIENTS).create(STREAM_PATIENTS)",
        str(lake),
    )
    assert rejected.returncode == 1
    assert message in rejected.stderr.splitlines()[-1]
    warehouse = run(copy, "-c", UPGRADE, database_url)
    assert warehouse.returncode == 1
    assert "cannot be removed or retyped" in warehouse.stderr.splitlines()[-1]


def test_rejects_at_import_a_field_whose_example_breaks_its_own_range(copy: Path) -> None:
    add_field(copy, FIELD.replace("example=5.7", "example=57"))
    program = run(copy, "-c", "import diabetes_platform.contract.fields")
    assert program.returncode == 1
    *_, message = program.stderr.splitlines()
    assert message == f"ValueError: field {NAME}: example is 57; allowed: 3 to 20 %"
