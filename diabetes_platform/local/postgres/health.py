"""The doctor at PostgreSQL: an intake row inserted and rolled back; the replication slot."""

import psycopg
from psycopg import sql

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.local.environments import database_url
from diabetes_platform.local.platform import WAREHOUSE_DATABASE
from diabetes_platform.local.postgres.data import SUPERUSER
from diabetes_platform.local.stack import Stack
from diabetes_platform.warehouse.replication import MIB, SLOT, read_slot, slot_problem


def insert_and_roll_back(stack: Stack) -> str:
    """Insert the contract's example of a patient as the API would, and take it back."""
    names = [field.name for field in FEATURES]
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(*DIABETES_NEW.name.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
    )
    example = {field.name: field.example for field in FEATURES}
    with psycopg.connect(database_url(stack, "api", WAREHOUSE_DATABASE)) as connection:
        connection.execute(insert, example)
        connection.rollback()
    return f"inserted into {DIABETES_NEW.name} as api and rolled back"


def replication_slot(stack: Stack) -> str:
    """Return how far the slot's consumer is behind; raises where it has none or is lost."""
    superuser = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)
    with psycopg.connect(superuser) as connection:
        slot = read_slot(connection)
    problem = slot_problem(slot, WAREHOUSE_DATABASE)
    if slot is None or problem is not None:
        raise RuntimeError(problem)
    if slot.held_by is None:
        raise RuntimeError(f"nobody reads {SLOT}, {slot.kept / MIB:.1f} MiB are kept for it")
    return f"{SLOT} is read by {slot.held_by}, {slot.behind / MIB:.1f} MiB behind"
