"""The canary: a patient that `diabetes doctor` sends through the stream and deletes again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import Connection, sql

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW, PREDICTIONS
from diabetes_platform.contract.topics import CDC_TOPIC, SINK_TOPIC
from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.settings import Port
from diabetes_platform.streaming.topic import Topic, open_topic

CANARY_SECONDS = 30.0
"""Much longer than a prediction takes, also on a busy machine."""
_SEARCH_SECONDS = 10.0
_INTAKE, _PREDICTIONS = (
    sql.Identifier(*table.name.split(".")) for table in (DIABETES_NEW, PREDICTIONS)
)
# One statement, one transaction: no canary without its mark.
_INSERT = sql.SQL(
    "WITH patient AS (INSERT INTO {} ({}) VALUES ({}) RETURNING id)"
    " INSERT INTO serving.canaries SELECT id FROM patient RETURNING intake_id"
).format(
    _INTAKE,
    sql.SQL(", ").join(sql.Identifier(field.name) for field in FEATURES),
    sql.SQL(", ").join(sql.Literal(field.example) for field in FEATURES),
)
_ANSWERED = sql.SQL("SELECT FROM {} WHERE intake_id = %s").format(_PREDICTIONS)
_DELETE = sql.SQL("DELETE FROM {} WHERE id = %s").format(_INTAKE)
# Younger ones may belong to another `diabetes doctor`.
_DELETE_OLD = sql.SQL(
    "DELETE FROM {} WHERE id IN (SELECT intake_id FROM serving.canaries)"
    " AND received_at < now() - interval '5 minutes'"
).format(_INTAKE)


def canary_answered(stack: Stack) -> str:
    """Insert a patient, wait for its prediction and delete it.

    Raises RuntimeError with the stage that the patient did not pass.
    """
    servers = stack.address(Port.KAFKA)
    url = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)
    with open_topic(CDC_TOPIC, servers) as changes, open_topic(SINK_TOPIC, servers) as images:
        starts = [_ends(topic) for topic in (changes, images)]
        started = time.monotonic()
        with canary(url) as (patient_id, connection):
            try:
                wait_until(
                    lambda: connection.execute(_ANSWERED, (patient_id,)).rowcount > 0,
                    timeout=CANARY_SECONDS,
                )
            except TimeoutError:
                passed = [
                    _arrived(topic, ends, patient_id)
                    for topic, ends in zip((changes, images), starts, strict=True)
                ]
                raise RuntimeError(
                    f"patient {patient_id} has no prediction after {CANARY_SECONDS:.0f} s: "
                    f"{missing_stage(*passed)}"
                ) from None
    return f"patient {patient_id} was answered in {time.monotonic() - started:.1f} s and is deleted"


@contextmanager
def canary(url: str) -> Iterator[tuple[int, Connection]]:
    """Store a canary during the block, which gets its id and a connection to the database at `url`.

    It is deleted on another connection, because that one may be broken. If the server does not
    answer, the next canary deletes it.
    """
    with _connect(url) as connection:
        connection.execute(_DELETE_OLD)
        patient_id = _insert(connection)
        try:
            yield patient_id, connection
        except BaseException:
            # The error of the block is the one to report.
            with suppress(psycopg.Error):
                _delete(url, patient_id)
            raise
        _delete(url, patient_id)


def _connect(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True, connect_timeout=5)


def _delete(url: str, patient_id: int) -> None:
    with _connect(url) as connection:
        connection.execute(_DELETE, (patient_id,))


def missing_stage(captured: bool, validated: bool) -> str:
    """Return the stage that a patient did not pass."""
    if validated:
        return f"it is in {SINK_TOPIC}, but the predictor has stored nothing"
    if captured:
        return f"its change is in {CDC_TOPIC}, but the stream job has written no image"
    return f"its change is not in {CDC_TOPIC}: change data capture does not work"


def _insert(connection: Connection) -> int:
    row = connection.execute(_INSERT).fetchone()
    if row is None:
        raise RuntimeError("the intake table returned no id")
    return int(row[0])


def _ends(topic: Topic) -> dict[int, int]:
    return {partition: end for partition, (_, end) in topic.watermarks().items()}


def _arrived(topic: Topic, starts: dict[int, int], patient_id: int) -> bool:
    """Whether the topic has a message of the patient at or after `starts`."""
    key = b'{"id":%d}' % patient_id
    deadline = time.monotonic() + _SEARCH_SECONDS
    topic_id = topic.topic_id()
    return any(
        (message.key or b"").replace(b" ", b"") == key
        for partition, end in _ends(topic).items()
        if starts[partition] < end
        for message in topic.read(
            topic_id, OffsetRange(partition, starts[partition], end - 1), deadline
        )
    )
