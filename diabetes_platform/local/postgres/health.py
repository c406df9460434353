"""The health check of PostgreSQL: an intake row is inserted and rolled back."""

import psycopg
from psycopg import sql

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.local.health import HealthCheck, restart_remedy
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE
from diabetes_platform.settings import Port


def insert_and_roll_back(stack: Stack) -> str:
    """Insert the contract's example of a patient as the role of the API, and roll back."""
    names = [field.name for field in FEATURES]
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(*DIABETES_NEW.name.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
    )
    example = {field.name: field.example for field in FEATURES}
    url = database_url(stack, "api", WAREHOUSE_DATABASE)
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute(insert, example)
        connection.rollback()
    return f"inserted into {DIABETES_NEW.name} as api and rolled back"


CHECKS = (
    HealthCheck(
        "postgres",
        "inserts and rolls back",
        insert_and_roll_back,
        restart_remedy("postgres"),
        Port.POSTGRES,
    ),
)
