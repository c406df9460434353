"""The replication slot of the intake table, which Debezium reads: creation and health."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

PUBLICATION = "diabetes_publication"
SLOT = "diabetes_slot"
PLUGIN = "pgoutput"
MIB = 2**20
MAX_RETAINED_BYTES = 512 * MIB
"""Bytes of write-ahead log that the slot may retain without a warning: a quarter of
`max_slot_wal_keep_size`.
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """The state of the slot on the server; sizes are bytes of write-ahead log.

    `kept` is the log that the slot retains, `behind` the part that its consumer has not confirmed;
    both are 0 for a lost slot. `holder_pid` is the session that reads the slot, if any. Only the
    session's own role and the superuser see its program, `holder`, and its role, `holder_user`.
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
        """The program, role and pid that read the slot; None without a reader."""
        if self.holder_pid is None:
            return None
        program, role = self.holder or "an unnamed program", self.holder_user or "another role"
        return f"{program} as {role} (PostgreSQL's pid {self.holder_pid})"


_READ = """
SELECT s.plugin, s.database, s.wal_status, s.invalidation_reason,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS kept,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0)::bigint AS behind,
    s.active_pid AS holder_pid, nullif(a.application_name, '') AS holder, a.usename AS holder_user
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = %s
"""


def read_slot(connection: Connection) -> Slot | None:
    """Return the current state of the slot; None if it does not exist."""
    with connection.cursor(row_factory=class_row(Slot)) as cursor:
        return cursor.execute(_READ, (SLOT,)).fetchone()


def ensure_slot(connection: Connection) -> Slot:
    """Return the slot; create it in the database of `connection` if it is missing.

    Needs REPLICATION, `wal_level=logical` and autocommit. Waits until all open transactions have
    ended.
    """
    if read_slot(connection) is None:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, %s)", (SLOT, PLUGIN))
    if (slot := read_slot(connection)) is None:
        raise RuntimeError(f"replication slot {SLOT} was dropped concurrently")
    return slot


def slot_problem(slot: Slot | None, database: str) -> str | None:
    """Return in one line what is wrong with the slot and what to do; None for a healthy slot.

    A slot without a reader is healthy: it waits for its consumer.
    """
    if slot is None:
        return f"replication slot {SLOT} is missing: `make up` creates it"
    if (slot.plugin, slot.database) != (PLUGIN, database):
        return (
            f"replication slot {SLOT} uses {slot.plugin} in database {slot.database}; allowed: "
            f"{PLUGIN} in {database}. Drop it, then `make up` creates it"
        )
    if slot.wal_status == "lost":
        return (
            f"replication slot {SLOT} was invalidated by PostgreSQL ({slot.invalidation_reason}): "
            "drop it, then `make up` creates it and the connector takes a new snapshot "
            "(docs/operations.md, “A lost replication slot”)"
        )
    if slot.wal_status == "unreserved":
        return (
            f"replication slot {SLOT} retains {slot.kept / MIB:.0f} MiB of write-ahead log and "
            "will be invalidated at the next checkpoint: start the connector now"
        )
    return None


def slot_warning(slot: Slot | None, database: str) -> str | None:
    """Return the slot's problem, or a warning that it retains too much write-ahead log."""
    problem = slot_problem(slot, database)
    if problem is not None or slot is None or slot.kept <= MAX_RETAINED_BYTES:
        return problem
    reader = "its reader is slow" if slot.holder_pid else "it has no reader"
    return (
        f"replication slot {SLOT} retains {slot.kept / MIB:.0f} MiB of write-ahead log; allowed: "
        f"{MAX_RETAINED_BYTES / MIB:.0f}. {reader.capitalize()}"
    )
