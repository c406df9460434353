"""The server that change data capture reads: detection of another one, and a new snapshot of it.

Kafka Connect stores a position in the log of one server. On another server (rebuilt, restored from
a backup, failed over to) that position means nothing: Debezium waits for the log to reach it, and
reports no error. So the connector's configuration records the server, and the capture starts a new
epoch with a snapshot if it is another one.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from psycopg import Connection
from psycopg.rows import class_row

from diabetes_platform.clients.connect import STOPPED, ConnectApi
from diabetes_platform.contract.topics import MAX_EPOCH
from diabetes_platform.polling import wait_until

EPOCH_SETTING = "transforms.epoch.static.value"
"""The connector writes it into each change event; see CAPTURE_EPOCH_KEY."""
SERVER_SETTING = "capture.server"
"""Empty while an epoch starts. Debezium reads neither this setting nor the next two."""
_REASON_SETTING = "capture.reason"
_STARTED_SETTING = "capture.started"
_RECENT_MS = 600_000
_FIRST_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1000
_HOUR_MS = 3_600_000
_STOP_SECONDS = 20.0
_INTERVAL = 0.3


@dataclass(frozen=True, slots=True)
class ServerPosition:
    """A server, and the end of its write-ahead log in bytes.

    All copies of a data directory have the same `system_identifier`. A copy that was promoted or
    recovered to a point in time has another `timeline`. `checkpoint` is the position of the newest
    checkpoint, which every start of the server begins with, and `started` the time of that start in
    microseconds since 1970.
    """

    system_identifier: int
    timeline: int
    lsn: int
    checkpoint: int = 0
    started: int = 0

    def __str__(self) -> str:
        return f"{self.system_identifier}/{self.timeline}"


@dataclass(frozen=True, slots=True)
class Capture:
    """The server that the connector captures, and the epoch of its log.

    `server` is empty until the connector has no offset of an earlier epoch. `reason` and `started`
    (ms since 1970) say why and when an epoch after the first one began.
    """

    server: str
    epoch: int
    reason: str = ""
    started: int = 0

    @property
    def settings(self) -> dict[str, str]:
        """The connector's settings that record it."""
        settings = {SERVER_SETTING: self.server, EPOCH_SETTING: str(self.epoch)}
        if self.reason:
            settings |= {_REASON_SETTING: self.reason, _STARTED_SETTING: str(self.started)}
        return settings

    def started_recently(self, now_ms: int) -> bool:
        """Whether the epoch began within the last ten minutes, for another reason than a set-up."""
        return bool(self.reason) and now_ms - self.started < _RECENT_MS


_READ = """
SELECT system_identifier,
    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline,
    pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS lsn,
    pg_wal_lsn_diff(checkpoint_lsn, '0/0')::bigint AS checkpoint,
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started
FROM pg_control_system(), pg_control_checkpoint()
"""


def read_position(connection: Connection) -> ServerPosition:
    """Return the server of `connection` and the end of its log; every role may read it."""
    with connection.cursor(row_factory=class_row(ServerPosition)) as cursor:
        position = cursor.execute(_READ).fetchone()
    if position is None:
        raise RuntimeError("pg_control_system returned no row")
    return position


def first_capture(now_ms: int) -> Capture:
    """Return the capture of a connector that Connect does not have, before its epoch starts.

    Connect, Kafka or PostgreSQL may have lost its state, but not Flink: so the epoch is later than
    every epoch of an earlier hour, also on a new platform.
    """
    return Capture("", _epoch_at(now_ms))


def current_capture(config: Mapping[str, str], server: ServerPosition) -> Capture:
    """Return the capture that `config` records, by default of `server` in epoch 0."""
    return Capture(
        config.get(SERVER_SETTING, str(server)),
        int(config.get(EPOCH_SETTING, "0")),
        config.get(_REASON_SETTING, ""),
        int(config.get(_STARTED_SETTING, "0")),
    )


def next_capture(
    config: Mapping[str, str], server: ServerPosition, reason: str, now_ms: int
) -> Capture:
    """Return the capture of `server` in an epoch after every earlier one.

    An epoch that was interrupted while it started is continued, with its reason.
    """
    current = current_capture(config, server)
    if not current.server:
        return replace(current, server=str(server), started=now_ms)
    epoch = max(current.epoch + 1, _epoch_at(now_ms))
    return Capture(str(server), min(epoch, MAX_EPOCH), reason, now_ms)


def replacement(
    config: Mapping[str, str], offset_lsn: int | None, server: ServerPosition
) -> str | None:
    """Return why the connector must start an epoch on `server`; None if it captures that server.

    `offset_lsn` is the position that Connect has stored, read before `server`.
    """
    capture = current_capture(config, server)
    if not capture.server:
        return capture.reason or "its first start was interrupted"
    if capture.server != str(server):
        return (
            f"PostgreSQL is server {server} (system identifier/timeline), and the connector "
            f"captured {capture.server}"
        )
    if offset_lsn is not None and offset_lsn > server.lsn:
        return (
            f"Connect's offset {offset_lsn:,} is ahead of the server's log, which ends at "
            f"{server.lsn:,}: PostgreSQL was restored from an older state"
        )
    return None


def restored(lsn: int, started: int, server: ServerPosition) -> str | None:
    """Return why `server` has lost the log up to `lsn`, which it had since `started`, or None.

    A log that has grown beyond `lsn` again is recognised by the newest checkpoint: after a restart
    or a crash of the same server, it lies after everything that was written before.
    """
    restarted = server.started != started
    if server.lsn >= lsn and not (restarted and server.checkpoint < lsn):
        return None
    return (
        f"the server's log ended at {lsn:,}, and now it ends at {server.lsn:,} after a start from "
        f"{server.checkpoint:,}: PostgreSQL was restored from an older state"
    )


def start_epoch(
    api: ConnectApi,
    name: str,
    config: Mapping[str, str],
    capture: Capture,
    prepare_slot: Callable[[], object] = lambda: None,
) -> None:
    """Restart the connector with `config` for `capture`, without an offset: it takes a snapshot.

    `prepare_slot` is called while the connector is stopped. The offset may be the only evidence
    that the server was replaced, so the configuration first records that an epoch starts: if this
    function is interrupted, `replacement` returns a reason to call it again, or the connector is
    only stopped. Raises ServiceError, and TimeoutError if the connector does not stop.
    """
    api.stop(name)
    wait_until(lambda: _is_stopped(api, name), timeout=_STOP_SECONDS, interval=_INTERVAL)
    pending = replace(capture, server="")
    stored = api.config(name) or {}
    # Connect may have accepted it although its answer was late.
    if (stored.get(SERVER_SETTING), stored.get(EPOCH_SETTING)) != ("", str(capture.epoch)):
        api.put_config(name, {**config, **pending.settings})
    prepare_slot()
    api.delete_offsets(name)
    api.put_config(name, {**config, **capture.settings})
    api.resume(name)


def register_stopped(
    api: ConnectApi, name: str, config: Mapping[str, str], capture: Capture
) -> None:
    """Register the connector without starting it. Raises ServiceError.

    Connect may still have the offset of an earlier connector with this name.
    """
    api.create_stopped(name, {**config, **capture.settings})
    # Connect accepts a connector before its REST API knows it.
    with suppress(TimeoutError):
        wait_until(lambda: _is_stopped(api, name), timeout=_STOP_SECONDS, interval=_INTERVAL)


def _is_stopped(api: ConnectApi, name: str) -> bool:
    state = api.state(name)
    return state.connector == STOPPED and not state.tasks


def _epoch_at(now_ms: int) -> int:
    """Return the hours since 2026, an epoch after those of all earlier hours."""
    return min(max(1, (now_ms - _FIRST_MS) // _HOUR_MS), MAX_EPOCH)
