"""Promotion of a validated batch to `serving.patients`, and rollback.

`serving.patient_versions` has the rows of several versions; the only row of
`serving.current_version` selects the one that the view `serving.patients` shows. MVCC covers both
rows and pointer, so every reader sees exactly one complete version at every isolation level,
without a lock. Swapping tables by name or by partition cannot guarantee that: a statement planned
before the swap, or an older snapshot, would read an empty table.
"""

from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg import Connection, sql

from diabetes_platform.contract.tables import STAGING_PATIENTS
from diabetes_platform.warehouse import ddl
from diabetes_platform.warehouse.staging import StagedBatch

RETAINED_VERSIONS = 3
"""The current version and the two before it, which a rollback can reach."""
_LOCK = 0x6469_6162
"""Advisory lock that serialises promotions and rollbacks."""


class PromotionRefusedError(RuntimeError):
    """A promotion or rollback was rejected; the serving table is unchanged."""


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
    PromotionRefusedError if its newest validation failed, its rows break the contract, or staging
    has another batch.
    """
    with psycopg.connect(url) as connection:
        _serialise(connection)
        earlier = _promotion_of(connection, batch.version)
        if earlier is not None:
            return earlier
        promotion = Promotion(
            action="promote",
            version=batch.version,
            previous_version=_current_version(connection),
            batch_id=batch.batch_id,
            delta_version=batch.delta_version,
            validation_run=_passing_validation(connection, batch),
            rows=batch.rows,
            verdict="all blocking expectations passed",
        )
        _copy_rows(connection, batch)
        _set_current(connection, batch.version)
        _audit(connection, promotion)
        _delete_unreachable(connection)
    return promotion


def rollback(url: str) -> Promotion:
    """Show the previous version; PromotionRefusedError without one."""
    with psycopg.connect(url) as connection:
        _serialise(connection)
        current = _current_version(connection)
        promoted = None if current is None else _promotion_of(connection, current)
        if promoted is None or promoted.previous_version is None:
            raise PromotionRefusedError("serving.patients has no earlier version")
        target = _promotion_of(connection, promoted.previous_version)
        if target is None or not _is_retained(connection, target.version):
            raise PromotionRefusedError(
                f"version {promoted.previous_version} is no longer retained"
            )
        audit = replace(
            target,
            action="rollback",
            previous_version=promoted.version,
            verdict=f"rolled back from version {promoted.version}",
            changed=True,
        )
        _set_current(connection, target.version)
        _audit(connection, audit)
    return audit


def serving_state(connection: Connection) -> Promotion:
    """Return the promotion of the version that `serving.patients` shows to this transaction.

    Raises PromotionRefusedError if nothing was promoted yet.
    """
    current = _current_version(connection)
    promotion = None if current is None else _promotion_of(connection, current)
    if promotion is None:
        raise PromotionRefusedError("nothing was promoted to serving.patients yet")
    return promotion


def _serialise(connection: Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _current_version(connection: Connection) -> int | None:
    row = connection.execute("SELECT version FROM serving.current_version").fetchone()
    return None if row is None else int(row[0])


def _promotion_of(connection: Connection, version: int) -> Promotion | None:
    row = connection.execute(
        "SELECT action, version, previous_version, batch_id, delta_version, validation_run, rows,"
        " verdict FROM serving.promotions WHERE version = %s AND action = 'promote'",
        (version,),
    ).fetchone()
    return None if row is None else replace(Promotion(*row), changed=False)


def _passing_validation(connection: Connection, batch: StagedBatch) -> str:
    row = connection.execute(
        "SELECT run_name, passed, failed FROM staging.validations WHERE version = %s"
        " ORDER BY validated_at DESC LIMIT 1",
        (batch.version,),
    ).fetchone()
    if row is None:
        raise PromotionRefusedError(f"batch {batch.batch_id} has not been validated")
    run_name, passed, failed = row
    if not passed:
        raise PromotionRefusedError(f"batch {batch.batch_id} failed {', '.join(failed)}")
    return str(run_name)


def _copy_rows(connection: Connection, batch: StagedBatch) -> None:
    # SHARE blocks a load between this check and the copy.
    connection.execute("LOCK TABLE staging.patients IN SHARE MODE")
    row = connection.execute("SELECT max(version) FROM staging.batches").fetchone()
    if row != (batch.version,):
        raise PromotionRefusedError(f"batch {batch.batch_id} is no longer in staging")
    copy = sql.SQL(
        "INSERT INTO serving.patient_versions (version, {columns})"
        " SELECT {version}, {columns} FROM staging.patients"
    ).format(columns=ddl.column_names(STAGING_PATIENTS), version=batch.version)
    try:
        connection.execute(copy)
    except (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation) as error:
        rule = error.diag.constraint_name or error.diag.column_name
        # Not chained: the server's message quotes the row, and no patient value may reach a log.
        raise PromotionRefusedError(f"batch {batch.batch_id} breaks {rule}") from None


def _set_current(connection: Connection, version: int) -> None:
    connection.execute(
        "INSERT INTO serving.current_version (version) VALUES (%s)"
        " ON CONFLICT (singleton) DO UPDATE SET version = excluded.version",
        (version,),
    )


def _is_retained(connection: Connection, version: int) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM serving.patient_versions WHERE version = %s)", (version,)
    ).fetchone()
    return row == (True,)


def _audit(connection: Connection, promotion: Promotion) -> None:
    connection.execute(
        "INSERT INTO serving.promotions (action, version, previous_version, batch_id,"
        " delta_version, validation_run, rows, verdict) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            promotion.action,
            promotion.version,
            promotion.previous_version,
            promotion.batch_id,
            promotion.delta_version,
            promotion.validation_run,
            promotion.rows,
            promotion.verdict,
        ),
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
