"""Promotion of a validated batch to `serving.patients`, and rollback.

`serving.patient_versions` has the rows of several versions; the only row of
`serving.current_version` selects the one that the view `serving.patients` shows. MVCC covers both
rows and pointer, so every reader sees exactly one complete version at every isolation level,
without a lock. Swapping tables by name or by partition cannot guarantee that: a statement planned
before the swap, or an older snapshot, would read an empty table.
"""

from dataclasses import asdict, dataclass, replace
from typing import Literal

import psycopg
from psycopg import Connection, sql

from diabetes_platform.contract.tables import STAGING_PATIENTS
from diabetes_platform.warehouse.staging import StagedBatch

RETAINED_VERSIONS = 3
"""The current version and the two before it, which a rollback can reach."""
_LOCK = 0x6469_6162
"""Advisory lock that serialises promotions and rollbacks."""


class PromotionError(RuntimeError):
    """A promotion or rollback that is not allowed; the serving table is unchanged."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One row of the audit `serving.promotions`; `changed` is False if it already existed."""

    action: Literal["promote", "rollback"]
    version: int
    previous_version: int | None
    batch_id: str
    delta_version: int
    validation_run: str | None
    rows: int
    verdict: str
    changed: bool = True


def promote(url: str, batch: StagedBatch) -> Promotion:
    """Make `serving.patients` show `batch`, in one transaction.

    Nothing happens if the batch was promoted before, even if it was rolled back since. Raises
    PromotionError if its newest validation failed, its rows break the contract, or staging has
    another batch.
    """
    with psycopg.connect(url) as connection:
        _serialise(connection)
        if (existing := _promotion_of(connection, batch.version)) is not None:
            return existing
        current = _promotion_of(connection)
        validation_run, accepted = _passing_validation(connection, batch)
        promotion = Promotion(
            action="promote",
            version=batch.version,
            previous_version=None if current is None else current.version,
            batch_id=batch.batch_id,
            delta_version=batch.delta_version,
            validation_run=validation_run,
            rows=batch.rows,
            verdict="; ".join(f"{name} accepted by {text}" for name, text in accepted.items())
            or "all blocking expectations passed",
        )
        _copy_rows(connection, batch)
        _serve(connection, promotion)
        _delete_unreachable(connection)
    return promotion


def rollback(url: str) -> Promotion:
    """Show the previous version; PromotionError without one."""
    with psycopg.connect(url) as connection:
        _serialise(connection)
        current = _promotion_of(connection)
        if current is None or current.previous_version is None:
            raise PromotionError("serving.patients has no earlier version")
        target = _promotion_of(connection, current.previous_version)
        if target is None or not _is_retained(connection, target.version):
            raise PromotionError(f"version {current.previous_version} is no longer retained")
        restored = replace(
            target,
            action="rollback",
            previous_version=current.version,
            verdict=f"rolled back from version {current.version}",
            changed=True,
        )
        _serve(connection, restored)
    return restored


def serving_state(connection: Connection) -> Promotion:
    """Return the promotion of the version that `serving.patients` shows to this transaction.

    Raises PromotionError if nothing was promoted yet.
    """
    if (promotion := _promotion_of(connection)) is None:
        raise PromotionError("nothing was promoted to serving.patients yet")
    return promotion


def _serialise(connection: Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _promotion_of(connection: Connection, version: int | None = None) -> Promotion | None:
    """Return the promotion of `version`, by default the current one."""
    row = connection.execute(
        "SELECT action, version, previous_version, batch_id, delta_version, validation_run, rows,"
        " verdict FROM serving.promotions WHERE action = 'promote'"
        " AND version = coalesce(%s, (SELECT version FROM serving.current_version))",
        (version,),
    ).fetchone()
    return None if row is None else replace(Promotion(*row), changed=False)


def _passing_validation(connection: Connection, batch: StagedBatch) -> tuple[str, dict[str, str]]:
    """Return the run of the newest validation, and the failures that an operator accepted."""
    row = connection.execute(
        "SELECT run_name, passed, failed, accepted FROM staging.validations WHERE version = %s"
        " ORDER BY validated_at DESC LIMIT 1",
        (batch.version,),
    ).fetchone()
    if row is None:
        raise PromotionError(f"batch {batch.batch_id} has not been validated")
    run_name, passed, failed, accepted = row
    if not passed:
        raise PromotionError(f"batch {batch.batch_id} failed {', '.join(failed)}")
    return str(run_name), dict(accepted)


def _copy_rows(connection: Connection, batch: StagedBatch) -> None:
    # SHARE blocks a load between this check and the copy.
    connection.execute("LOCK TABLE staging.patients IN SHARE MODE")
    row = connection.execute("SELECT max(version) FROM staging.batches").fetchone()
    if row != (batch.version,):
        raise PromotionError(f"batch {batch.batch_id} is no longer in staging")
    columns = sql.SQL(", ").join(map(sql.Identifier, STAGING_PATIENTS.column_names))
    copy = sql.SQL(
        "INSERT INTO serving.patient_versions (version, {columns})"
        " SELECT {version}, {columns} FROM staging.patients"
    ).format(columns=columns, version=batch.version)
    try:
        connection.execute(copy)
    except (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation) as error:
        rule = error.diag.constraint_name or error.diag.column_name
        # Not chained: the server's message quotes the row, and no patient value may reach a log.
        raise PromotionError(f"batch {batch.batch_id} breaks {rule}") from None


def _is_retained(connection: Connection, version: int) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM serving.patient_versions WHERE version = %s)", (version,)
    ).fetchone()
    return row == (True,)


def _serve(connection: Connection, promotion: Promotion) -> None:
    """Point at the promotion's version, and add the promotion to the audit."""
    connection.execute(
        "INSERT INTO serving.current_version (version) VALUES (%s)"
        " ON CONFLICT (singleton) DO UPDATE SET version = excluded.version",
        (promotion.version,),
    )
    connection.execute(
        "INSERT INTO serving.promotions (action, version, previous_version, batch_id,"
        " delta_version, validation_run, rows, verdict) VALUES (%(action)s, %(version)s,"
        " %(previous_version)s, %(batch_id)s, %(delta_version)s, %(validation_run)s, %(rows)s,"
        " %(verdict)s)",
        asdict(promotion),
    )


def _delete_unreachable(connection: Connection) -> None:
    """Delete the versions that no rollback can reach; older snapshots still read them."""
    connection.execute(
        "WITH RECURSIVE reachable (version, depth) AS ("
        "  SELECT version, 1 FROM serving.current_version"
        "  UNION ALL"
        "  SELECT p.previous_version, r.depth + 1 FROM reachable r JOIN serving.promotions p"
        "  ON p.version = r.version AND p.action = 'promote'"
        "  WHERE p.previous_version IS NOT NULL AND r.depth < %s)"
        " DELETE FROM serving.patient_versions"
        " WHERE version NOT IN (SELECT version FROM reachable)",
        (RETAINED_VERSIONS,),
    )
