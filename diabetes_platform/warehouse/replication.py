"""The replication slot of the intake table, which Debezium reads: creation and health."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.errors import ObjectInUse
from psycopg.rows import class_row

from diabetes_platform.polling import wait_until

PUBLICATION = "diabetes_publication"
SLOT = "diabetes_slot"
PLUGIN = "pgoutput"
MIB = 2**20
MAX_RETAINED_BYTES = 512 * MIB
"""Bytes of write-ahead log that the slot may retain without a warning: a quarter of
`max_slot_wal_keep_size`.
"""
MAX_STALL_SECONDS = 120
"""Twelve heartbeats of the connector."""
_RELEASE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Slot:
    """The state of the slot on the server; sizes are bytes of write-ahead log.

    `kept` is the log that the slot retains, `behind` the part that its consumer has not confirmed;
    both are 0 for a lost slot. `confirmed` is the consumer's position, `holder_pid` the session
    that reads the slot, if any. Only the session's own role and the superuser see its program,
    `holder`, and its role, `holder_user`.
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
    confirmed: int = 0

    @property
    def lost(self) -> bool:
        """Whether PostgreSQL has invalidated the slot: nobody can read it any more."""
        return self.wal_status == "lost"

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
    s.active_pid AS holder_pid, nullif(a.application_name, '') AS holder, a.usename AS holder_user,
    coalesce(pg_wal_lsn_diff(s.confirmed_flush_lsn, '0/0'), 0)::bigint AS confirmed
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = %s
"""


def read_slot(connection: Connection) -> Slot | None:
    """Return the current state of the slot; None if it does not exist."""
    with connection.cursor(row_factory=class_row(Slot)) as cursor:
        return cursor.execute(_READ, (SLOT,)).fetchone()


def ensure_slot(connection: Connection) -> Slot:
    """Return the slot; create it in the database of `connection` if it is missing or lost.

    The connector then takes a snapshot, because its offset is no longer in the log. Needs
    REPLICATION, `wal_level=logical` and autocommit. Waits until all open transactions have
    ended.
    """
    slot = read_slot(connection)
    if slot is not None and slot.lost:
        connection.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
    if slot is None or slot.lost:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, %s)", (SLOT, PLUGIN))
    if (slot := read_slot(connection)) is None:
        raise RuntimeError(f"replication slot {SLOT} was dropped concurrently")
    return slot


def recreate_slot(connection: Connection) -> Slot:
    """Drop the slot, whose reader has stopped or stops within seconds, and create it again.

    On a replaced server, the connector may already have confirmed a position of the lost one. From
    such a slot, PostgreSQL would send no change before the log has grown to that position.
    """

    def drop() -> bool:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE slot_name = %s",
            (SLOT,),
        )
        return True

    wait_until(drop, timeout=_RELEASE_SECONDS, interval=0.3, retry_on=(ObjectInUse,))
    return ensure_slot(connection)


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
    if slot.lost:
        return (
            f"replication slot {SLOT} was invalidated by PostgreSQL ({slot.invalidation_reason}): "
            "`make up` creates it again and the connector takes a new snapshot "
            "(docs/operations.md, “A lost replication slot”)"
        )
    if slot.behind < 0:
        return (
            f"replication slot {SLOT} is confirmed up to {-slot.behind:,} bytes after the end of "
            "the server's log: `make up` starts the capture again with a snapshot"
        )
    if slot.wal_status == "unreserved":
        return (
            f"replication slot {SLOT} retains {slot.kept / MIB:.0f} MiB of write-ahead log and "
            "will be invalidated at the next checkpoint: start the connector now"
        )
    return None


def slot_progress(
    previous: tuple[int, int] | None, slot: Slot | None, now_ms: int
) -> tuple[int, int] | None:
    """Return the confirmed position, and since when (ms since 1970) it has not advanced."""
    if slot is None or slot.lost:
        return None
    if previous is not None and previous[0] == slot.confirmed:
        return previous
    return slot.confirmed, now_ms


def stall_problem(progress: tuple[int, int] | None, slot: Slot | None, now_ms: int) -> str | None:
    """Return that the slot's consumer confirms nothing, although the log has grown.

    The connector's heartbeat writes to the log every ten seconds, so a healthy consumer confirms a
    new position although no patient arrives.
    """
    if progress is None or slot is None or slot.behind <= 0:
        return None
    seconds = (now_ms - progress[1]) // 1000
    if seconds < MAX_STALL_SECONDS:
        return None
    reader = slot.held_by or "nobody"
    return (
        f"replication slot {SLOT} has not advanced for {seconds} s, allowed {MAX_STALL_SECONDS}: "
        f"{reader} reads it and confirms nothing, and {slot.behind:,} bytes of log wait. During a "
        "long snapshot this is normal; otherwise `diabetes doctor`"
    )


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
