"""`diabetes load`: send patients to the running platform and show the latency of predictions."""

import json
import time
from collections import deque
from contextlib import ExitStack

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from psycopg import sql
from psycopg.rows import dict_row
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW, PREDICTIONS
from diabetes_platform.contract.topics import CDC_TOPIC, REJECTED_TOPIC
from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack, require_running_stack
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE
from diabetes_platform.settings import PIMA_CSV, PlatformSettings, Port
from diabetes_platform.streaming.load_events import (
    FIRST_UNUSED_ID,
    Event,
    broken_event,
    change_event,
    read_patients,
    sample_patients,
)
from diabetes_platform.streaming.load_profile import (
    STAGES,
    TIMESTAMPS,
    EventKind,
    LoadProfile,
    LoadStats,
)
from diabetes_platform.warehouse.roles import API

_TICK_SECONDS = 0.01
_POLL_SECONDS = 0.5
_DRAIN_SECONDS = 15.0
"""The time to wait for predictions and rejections after the last event."""
_TIMEOUT = 10.0
_RECENT_EVENTS = 1000
_TABLE = sql.Identifier(*DIABETES_NEW.name.split("."))
_INSERT = sql.SQL("INSERT INTO {} ({}) VALUES ").format(
    _TABLE, sql.SQL(", ").join(map(sql.Identifier, FEATURE_NAMES))
)
_ROW = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(FEATURE_NAMES)))
_PREDICTIONS = sql.SQL("SELECT intake_id, {} FROM {} WHERE intake_id = ANY(%s)").format(
    sql.SQL(", ").join(map(sql.Identifier, TIMESTAMPS)),
    sql.Identifier(*PREDICTIONS.name.split(".")),
)


def load(settings: PlatformSettings, console: Console, profile: LoadProfile) -> None:
    """Send the events of `profile` and show the predictions; Ctrl-C ends it with the same summary.

    Raises PlatformError if a service does not answer, FailedError if a patient has no prediction.
    """
    stack = require_running_stack(settings)
    stats = LoadStats()
    try:
        with ExitStack() as exit_stack:
            _Load(stack, profile, stats, exit_stack).run(console)
    except (psycopg.OperationalError, KafkaException, BufferError) as error:
        raise PlatformError(f"the platform does not take the load: {cause(error)}") from error
    finally:
        if stats.sent:
            console.print(load_table(stats, profile))
    if stats.pending:
        raise FailedError(
            f"{len(stats.pending)} of {stats.sent[EventKind.PATIENT]} patients have no prediction "
            f"after {_DRAIN_SECONDS:.0f} s: see `diabetes doctor`"
        )


def cause(error: Exception) -> str:
    """Return in one line why a service does not take the load."""
    if isinstance(error, KafkaException):
        failure: KafkaError = error.args[0]
        return f"Kafka: {failure.str()}; see `diabetes logs kafka`"
    if isinstance(error, BufferError):
        return "Kafka has accepted no event for a while; see `diabetes logs kafka`"
    return str(error).strip().splitlines()[0]


def kafka_options(servers: str) -> dict[str, str | int | float | bool]:
    """Return the options of the clients; their own log would repeat an outage a hundred times."""
    return {"bootstrap.servers": servers, "log_level": 0}


def load_table(stats: LoadStats, profile: LoadProfile) -> Group:
    """Return the tables of counts and of the latency of each stage."""
    sent = {
        "patients sent": stats.sent[EventKind.PATIENT],
        "answered": stats.predicted,
        "waiting": len(stats.pending),
        "invalid sent": stats.sent[EventKind.INVALID],
        "rejected": stats.rejected,
        "duplicates sent": stats.sent[EventKind.DUPLICATE],
    }
    title = f"{profile.rate:g} events a second for {profile.seconds:g} s"
    counts = Table(*map(_number_column, sent), title=title, title_justify="left")
    counts.add_row(*(f"{number:,}" for number in sent.values()))
    stages = Table("stage", "from → to", _number_column("p50 ms"), _number_column("p99 ms"))
    for stage in STAGES:
        quantiles = (stats.quantile(stage.name, quantile) for quantile in (0.5, 0.99))
        texts = ("-" if ms is None else f"{ms:.1f}" for ms in quantiles)
        stages.add_row(stage.name, stage.description, *texts)
    return Group(counts, stages)


def _number_column(name: str) -> Column:
    return Column(name, justify="right")


def _require_delivery(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise KafkaException(error)


class _Load:
    def __init__(
        self, stack: Stack, profile: LoadProfile, stats: LoadStats, exit_stack: ExitStack
    ) -> None:
        self._profile, self._stats = profile, stats
        url = database_url(stack, API.name, WAREHOUSE_DATABASE)
        self._database = exit_stack.enter_context(
            psycopg.connect(url, autocommit=True, connect_timeout=5)
        )
        servers = kafka_options(stack.address(Port.KAFKA))
        # The default batch size exceeds the largest message that the topic accepts.
        self._producer = Producer({**servers, "linger.ms": 0, "batch.size": 131_072})
        self._consumer = Consumer({**servers, "group.id": "load", "enable.auto.commit": False})
        exit_stack.callback(self._consumer.close)
        self._initial_rejected = self._rejected()
        self._consumer.assign(self._end_offsets(CDC_TOPIC))
        self._events: deque[Event] = deque(maxlen=_RECENT_EVENTS)
        with PIMA_CSV.open(encoding="utf-8", newline="") as lines:
            self._patients = sample_patients(read_patients(lines), profile.seed)
        self._keys: set[bytes] = set()
        self._broken = 0

    def run(self, console: Console) -> None:
        started = time.monotonic()
        with Live(load_table(self._stats, self._profile), console=console, transient=True) as live:
            next_poll = started
            while not self._done(time.monotonic() - started):
                self._send(time.monotonic() - started)
                self._collect_events()
                if time.monotonic() >= next_poll:
                    self._poll_results()
                    live.update(load_table(self._stats, self._profile))
                    next_poll = time.monotonic() + _POLL_SECONDS
            if self._producer.flush(_TIMEOUT):
                raise BufferError
            self._poll_results()

    def _done(self, elapsed: float) -> bool:
        over = elapsed - self._profile.seconds
        return over >= _DRAIN_SECONDS or (over >= _POLL_SECONDS and self._stats.complete)

    def _send(self, elapsed: float) -> None:
        due = self._profile.due(elapsed)
        if due[EventKind.PATIENT]:
            self._insert(due[EventKind.PATIENT])
        for _ in range(due[EventKind.INVALID]):
            self._produce(*self._next_broken())
            self._stats.sent[EventKind.INVALID] += 1
        for _ in range(due[EventKind.DUPLICATE]):
            if self._events:
                self._produce(*self._events.popleft())
                self._stats.sent[EventKind.DUPLICATE] += 1

    def _insert(self, rows: int) -> None:
        patients = [next(self._patients) for _ in range(rows)]
        values = [patient[name] for patient in patients for name in FEATURE_NAMES]
        statement = sql.SQL("{}{} RETURNING id").format(_INSERT, sql.SQL(", ").join([_ROW] * rows))
        ids = self._database.execute(statement, values).fetchall()
        self._stats.pending |= {intake_id for (intake_id,) in ids}
        self._keys |= {
            json.dumps({"id": intake_id}, separators=(",", ":")).encode() for (intake_id,) in ids
        }
        self._stats.sent[EventKind.PATIENT] += rows

    def _next_broken(self) -> Event:
        self._broken += 1
        now_ms = time.time_ns() // 1_000_000
        event = change_event(
            FIRST_UNUSED_ID + self._broken, next(self._patients), lsn=self._broken, now_ms=now_ms
        )
        return broken_event(self._broken, event)

    def _produce(self, key: bytes | None, value: bytes | None) -> None:
        self._producer.produce(CDC_TOPIC, key=key, value=value, on_delivery=_require_delivery)
        self._producer.poll(0)

    def _collect_events(self) -> None:
        """Collect recent change events, of which some are sent again; waits for up to one tick."""
        messages = self._consumer.consume(_RECENT_EVENTS, _TICK_SECONDS)
        for message in messages:
            # Only events of this run: a broken event of another run would be rejected again.
            if message.error() is None and message.key() in self._keys:
                self._events.append((message.key(), message.value()))

    def _poll_results(self) -> None:
        self._stats.rejected = self._rejected() - self._initial_rejected
        if not self._stats.pending:
            return
        with self._database.cursor(row_factory=dict_row) as cursor:
            for row in cursor.execute(_PREDICTIONS, (list(self._stats.pending),)):
                self._stats.add_prediction(row.pop("intake_id"), row)

    def _rejected(self) -> int:
        return sum(end.offset for end in self._end_offsets(REJECTED_TOPIC))

    def _end_offsets(self, topic: str) -> list[TopicPartition]:
        numbers = self._consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        ends = [TopicPartition(topic, number) for number in numbers]
        for end in ends:
            end.offset = self._consumer.get_watermark_offsets(end, timeout=_TIMEOUT)[1]
        return ends
