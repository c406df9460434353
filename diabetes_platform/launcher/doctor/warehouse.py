"""The doctor at PostgreSQL: an intake row inserted and rolled back; the replication slot."""

import psycopg
from psycopg import sql

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.launcher.postgres_data import SUPERUSER
from diabetes_platform.launcher.stack.environments import database_url
from diabetes_platform.launcher.stack.stack import Stack

SLOT = "diabetes_slot"
DATABASE = "diabetes"
_MIB = 2**20


def insert_and_roll_back(stack: Stack) -> str:
    """Insert the contract's example of a patient as the API would, and take it back."""
    names = [field.name for field in FEATURES]
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(*DIABETES_NEW.name.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
    )
    example = {field.name: field.example for field in FEATURES}
    with psycopg.connect(database_url(stack, "api", DATABASE)) as connection:
        connection.execute(insert, example)
        connection.rollback()
    return f"inserted into {DIABETES_NEW.name} as api and rolled back"


def replication_slot(stack: Stack) -> str:
    """Return how far the slot's consumer is behind; raises where it has none or is lost."""
    query = """
        SELECT active, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)
        FROM pg_replication_slots WHERE slot_name = %s
    """
    with psycopg.connect(database_url(stack, SUPERUSER, DATABASE)) as connection:
        found = connection.execute(query, (SLOT,)).fetchone()
    if found is None:
        raise RuntimeError(f"there is no replication slot {SLOT}")
    active, wal_status, behind = found
    if wal_status == "lost":
        raise RuntimeError(f"{SLOT} is lost: its consumer was away for too long")
    if not active:
        raise RuntimeError(f"nobody reads {SLOT}, {int(behind) / _MIB:.1f} MiB are kept for it")
    return f"{SLOT} is read, {int(behind) / _MIB:.1f} MiB behind"
