"""The roles that log in to PostgreSQL, and their purposes; the migrations grant the rights."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Role:
    """A role that logs in; with `replication` it may read the write-ahead log."""

    name: str
    purpose: str
    replication: bool = False


MIGRATOR = Role("migrator", "owns the warehouse and runs its migrations")
PIPELINE = Role("pipeline", "stages, validates, promotes, rolls back and reads what is served")
API = Role("api", "takes in patients, confirms outcomes, reads predictions")
PREDICTOR = Role("predictor", "writes predictions")
DEBEZIUM = Role("debezium", "reads the changes of the intake table", replication=True)
READER = Role("reader", "reads what is served")
DAGSTER = Role("dagster", "owns Dagster's own database")

WAREHOUSE_ROLES = (MIGRATOR, PIPELINE, API, PREDICTOR, DEBEZIUM, READER)
ROLES = (*WAREHOUSE_ROLES, DAGSTER)
