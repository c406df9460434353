"""Promotion of a validated batch to `serving.patients`, and the way back.

`serving.patient_versions` holds the rows of several versions and the one row of
`serving.current_version` says which of them the view `serving.patients` shows. Rows and pointer
are both under MVCC, so that a reader sees exactly one whole version at every isolation level and
nobody waits for a lock. Swapping tables by name or by partition cannot promise that: a statement
planned before the swap, or a snapshot older than it, would meet a table that is empty to it.
"""

from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg import Connection, sql

from diabetes_platform.contract.tables import STAGING_PATIENTS
from diabetes_platform.warehouse import ddl
from diabetes_platform.warehouse.staging import StagedBatch

KEPT_VERSIONS = 3
"""The current version and the two that a rollback can reach."""
_LOCK = 0x6469_6162
"""Advisory lock: promotions and rollbacks happen one after the other."""


class PromotionRefusedError(RuntimeError):
    """A promotion or rollback that must not happen; the serving table is unchanged."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One row of the audit `serving.promotions`; `changed` is False where it was there already."""

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
    """Make `batch` what `serving.patients` shows, in one transaction.

    A batch that was promoted before is left as it is, also after a rollback from it. Raises
    PromotionRefusedError where its newest validation did not pass, its rows break the contract,
    or staging holds another batch by now.
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
        _point_at(connection, batch.version)
        _audit(connection, promotion)
        _delete_unreachable(connection)
    return promotion


def rollback(url: str) -> Promotion:
    """Show the version that was current before the current one; PromotionRefusedError if none."""
    with psycopg.connect(url) as connection:
        _serialise(connection)
        current = _current_version(connection)
        promoted = None if current is None else _promotion_of(connection, current)
        if promoted is None or promoted.previous_version is None:
            raise PromotionRefusedError("no earlier version of serving.patients to go back to")
        target = _promotion_of(connection, promoted.previous_version)
        if target is None or not _kept(connection, target.version):
            raise PromotionRefusedError(f"version {promoted.previous_version} is not kept any more")
        back = replace(
            target,
            action="rollback",
            previous_version=promoted.version,
            verdict=f"rolled back from version {promoted.version}",
            changed=True,
        )
        _point_at(connection, target.version)
        _audit(connection, back)
    return back


def serving_state(connection: Connection) -> Promotion:
    """Return the promotion of the version that `serving.patients` shows to this transaction.

    Raises PromotionRefusedError where nothing was promoted yet.
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
    # SHARE: no load may replace the rows between this check and the copy.
    connection.execute("LOCK TABLE staging.patients IN SHARE MODE")
    row = connection.execute("SELECT max(version) FROM staging.batches").fetchone()
    if row != (batch.version,):
        raise PromotionRefusedError(f"batch {batch.batch_id} is not in staging any more")
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


def _point_at(connection: Connection, version: int) -> None:
    connection.execute(
        "INSERT INTO serving.current_version (version) VALUES (%s)"
        " ON CONFLICT (singleton) DO UPDATE SET version = excluded.version",
        (version,),
    )


def _kept(connection: Connection, version: int) -> bool:
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
    """Delete the versions that no rollback reaches; older snapshots still read them."""
    connection.execute(
        "WITH RECURSIVE reachable (version, depth) AS ("
        "  SELECT version, 1 FROM serving.current_version"
        "  UNION ALL"
        "  SELECT p.previous_version, r.depth + 1 FROM reachable r JOIN serving.promotions p"
        "  ON p.version = r.version AND p.action = 'promote'"
        "  WHERE p.previous_version IS NOT NULL AND r.depth < %s)"
        " DELETE FROM serving.patient_versions"
        " WHERE version NOT IN (SELECT version FROM reachable)",
        (KEPT_VERSIONS,),
    )
