"""The replication slot of the intake table: made, looked at, judged. It is read by Debezium."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

PUBLICATION = "diabetes_publication"
SLOT = "diabetes_slot"
PLUGIN = "pgoutput"
MIB = 2**20
MOST_KEPT = 512 * MIB
"""Bytes that the slot may hold back before somebody should look: a quarter of what it may at all
(`max_slot_wal_keep_size`).
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """What the server says of the slot; sizes are bytes of write-ahead log.

    `kept` is what the slot holds back, `behind` what its consumer has not confirmed; both are 0
    for a slot that was given up. `holder_pid` is the session that reads it, if any; who that is
    (`holder`, `holder_user`) only the same role and the superuser are told.
    """

    plugin: str
    database: str
    wal_status: str
    invalidation_reason: str | None
    kept: int
    behind: int
    holder_pid: int | None
    holder: str | None
    holder_user: str | None

    @property
    def held_by(self) -> str | None:
        """Who reads the slot, for a person who looks for that process; None where nobody does."""
        if self.holder_pid is None:
            return None
        name = self.holder or "a program without a name"
        return (
            f"{name} as {self.holder_user or 'another role'} (PostgreSQL's pid {self.holder_pid})"
        )


_READ = """
SELECT s.plugin, s.database, s.wal_status, s.invalidation_reason,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS kept,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0)::bigint AS behind,
    s.active_pid AS holder_pid, nullif(a.application_name, '') AS holder, a.usename AS holder_user
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = %s
"""


def read_slot(connection: Connection) -> Slot | None:
    """Return the slot as the server of `connection` sees it now; None where there is none."""
    with connection.cursor(row_factory=class_row(Slot)) as cursor:
        return cursor.execute(_READ, (SLOT,)).fetchone()


def ensure_slot(connection: Connection) -> Slot:
    """Return the slot, made now where it is missing, in the database of `connection`.

    Needs REPLICATION, `wal_level=logical` and autocommit. Waits until every transaction that is
    open now has ended.
    """
    found = read_slot(connection)
    if found is None:
        create = "SELECT pg_create_logical_replication_slot(%s, %s)"
        connection.execute(create, (SLOT, PLUGIN))
        found = read_slot(connection)
    if found is None:
        raise RuntimeError(f"replication slot {SLOT} was dropped by somebody else meanwhile")
    return found


def slot_problem(slot: Slot | None, database: str) -> str | None:
    """Return one line that says what is wrong with the slot and what to do; None where all is well.

    A slot that nobody reads is no problem yet: it is kept for a consumer that comes back.
    """
    if slot is None:
        return f"replication slot {SLOT} is missing: `make up` makes it"
    if (slot.plugin, slot.database) != (PLUGIN, database):
        return (
            f"replication slot {SLOT} is of {slot.plugin} in database {slot.database}, allowed "
            f"{PLUGIN} in {database}: drop it, then `make up` makes it again"
        )
    if slot.wal_status == "lost":
        return (
            f"replication slot {SLOT} was given up by PostgreSQL ({slot.invalidation_reason}): "
            "drop it, then `make up` makes it again and the connector takes a new snapshot "
            "(docs/operations.md, “A lost replication slot”)"
        )
    if slot.wal_status == "unreserved":
        return (
            f"replication slot {SLOT} holds back {slot.kept / MIB:.0f} MiB of write-ahead log and "
            "will be given up at the next checkpoint: start the connector now"
        )
    return None


def slot_trouble(slot: Slot | None, database: str) -> str | None:
    """Return what `slot_problem` says, or how much too much the slot holds back."""
    problem = slot_problem(slot, database)
    if problem is not None or slot is None or slot.kept <= MOST_KEPT:
        return problem
    reader = "its reader is slow" if slot.holder_pid else "nobody reads it"
    return (
        f"replication slot {SLOT} holds back {slot.kept / MIB:.0f} MiB of write-ahead log, allowed "
        f"{MOST_KEPT / MIB:.0f}: {reader}"
    )
