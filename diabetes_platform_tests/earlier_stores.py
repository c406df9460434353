"""The stores of an earlier version, unpacked: a lake, a model store and a warehouse."""

import gzip
import tarfile
from pathlib import Path

import psycopg

from diabetes_platform.warehouse.roles import WAREHOUSE_ROLES

FIXTURE = Path(__file__).parent / "fixtures" / "lake_and_warehouse"


def unpack_stores(directory: Path) -> tuple[Path, Path]:
    """Unpack the lake and the model store; return their roots."""
    with tarfile.open(FIXTURE / "lake_and_models.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    return directory / "lake", directory / "models"


def restore_warehouse(database_url: str) -> None:
    """Restore the warehouse into an empty database."""
    statements = gzip.decompress((FIXTURE / "warehouse.sql.gz").read_bytes())
    with psycopg.connect(database_url, autocommit=True) as connection:
        for role in WAREHOUSE_ROLES:
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {role.name} NOLOGIN;"
                " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$".encode()
            )
        connection.execute(statements)
