"""A scratch warehouse with the Pima batch staged the way cleaning stages it."""

from pathlib import Path

import psycopg
import pytest

from diabetes_platform_tests.quality.staged_batches import create_table, load, pima_patients


@pytest.fixture
def warehouse(database_url: str) -> str:
    """The URL of a database whose view `staging.patients` shows the 768 Pima patients."""
    with psycopg.connect(database_url) as connection:
        create_table(connection, "staging", "patients_1")
        load(connection, "staging", "patients_1", pima_patients())
        connection.execute("CREATE VIEW staging.patients AS SELECT * FROM staging.patients_1")
    return database_url


@pytest.fixture
def docs_dir(tmp_path: Path) -> Path:
    return tmp_path / "data_docs"
