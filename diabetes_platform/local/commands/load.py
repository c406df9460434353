"""`diabetes load`: send patients to the running platform and show the latency of predictions."""

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from psycopg import sql
from psycopg.rows import dict_row
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from diabetes_platform.contract.events import CDC_TOPIC, REJECTED_TOPIC
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW, PREDICTIONS
from diabetes_platform.local.errors import FailedError, PlatformError
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.connection import WAREHOUSE_DATABASE, database_url
from diabetes_platform.local.stack import Stack, require_running_stack
from diabetes_platform.settings import PIMA_CSV, PlatformSettings, Port
from diabetes_platform.streaming.broken_events import NOBODY, Event, broken_event, change_event
from diabetes_platform.streaming.load_plan import Kind, LoadPlan
from diabetes_platform.streaming.load_tally import HOPS, STAMPS, LoadTally
from diabetes_platform.streaming.sampler import Patient, read_patients, sample_patients
from diabetes_platform.warehouse.roles import API

_TICK_SECONDS = 0.01
_LOOK_SECONDS = 0.5
_LAST_ANSWER_SECONDS = 15.0
"""So long it waits for answers and rejections after the last patient."""
_SECONDS = 10.0
_KEPT_EVENTS = 1000
_TABLE = sql.Identifier(*DIABETES_NEW.name.split("."))
_INSERT = sql.SQL("INSERT INTO {} ({}) VALUES ").format(
    _TABLE, sql.SQL(", ").join(map(sql.Identifier, FEATURE_NAMES))
)
_ROW = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(FEATURE_NAMES)))
_ANSWERS = sql.SQL("SELECT intake_id, {} FROM {} WHERE intake_id = ANY(%s)").format(
    sql.SQL(", ").join(map(sql.Identifier, STAMPS)), sql.Identifier(*PREDICTIONS.name.split("."))
)


def load(settings: PlatformSettings, console: Console, plan: LoadPlan) -> None:
    """Send the events of `plan` and show the predictions; Ctrl-C ends it with the same summary.

    Raises PlatformError if a service does not answer, FailedError if a patient has no prediction.
    """
    stack = require_running_stack(settings)
    tally = LoadTally()
    try:
        with ExitStack() as opened:
            _Load(stack, plan, tally, opened).run(console)
    except (psycopg.OperationalError, KafkaException) as error:
        line = str(error).strip().splitlines()[0]
        raise PlatformError(f"the platform does not take the load: {line}") from error
    finally:
        if tally.sent:
            console.print(load_table(tally, plan))
    if tally.waiting:
        raise FailedError(
            f"{len(tally.waiting)} of {tally.sent[Kind.PATIENT]} patients without an answer after "
            f"{_LAST_ANSWER_SECONDS:.0f} s: see `diabetes doctor`"
        )


def load_table(tally: LoadTally, plan: LoadPlan) -> Group:
    """Return the tables of counts and of the latency of each stage."""
    title = f"{plan.rate:g} events a second for {plan.seconds:g} s"
    counts = Table(title=title, title_justify="left")
    columns = {
        "patients sent": tally.sent[Kind.PATIENT],
        "answered": tally.answered,
        "waiting": len(tally.waiting),
        "invalid sent": tally.sent[Kind.INVALID],
        "rejected": tally.rejected,
        "duplicates sent": tally.sent[Kind.DUPLICATE],
    }
    for name in columns:
        counts.add_column(name, justify="right")
    counts.add_row(*(f"{number:,}" for number in columns.values()))
    hops = Table()
    hops.add_column("hop")
    hops.add_column("from → to")
    for name in ("p50 ms", "p99 ms"):
        hops.add_column(name, justify="right")
    for hop in HOPS:
        shares = (tally.quantile(hop.name, share) for share in (0.5, 0.99))
        hops.add_row(hop.name, hop.description, *("-" if x is None else f"{x:.1f}" for x in shares))
    return Group(counts, hops)


class _Load:
    def __init__(self, stack: Stack, plan: LoadPlan, tally: LoadTally, opened: ExitStack) -> None:
        self._plan, self._tally = plan, tally
        url = database_url(stack, API.name, WAREHOUSE_DATABASE)
        self._database = opened.enter_context(psycopg.connect(url, autocommit=True))
        servers = {"bootstrap.servers": f"{HOST}:{stack.port(Port.KAFKA)}"}
        # What the topic takes at once is less than the client would send.
        self._producer = Producer({**servers, "linger.ms": 0, "batch.size": 131_072})
        self._consumer = Consumer({**servers, "group.id": "load", "enable.auto.commit": False})
        opened.callback(self._consumer.close)
        self._rejected_before = self._rejected()
        self._consumer.assign(self._ends(CDC_TOPIC))
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._patients = _patients(PIMA_CSV, plan.seed)
        self._keys: set[bytes] = set()
        self._broken = 0

    def run(self, console: Console) -> None:
        started = time.monotonic()
        with Live(load_table(self._tally, self._plan), console=console, transient=True) as live:
            next_look = started
            while not self._done(time.monotonic() - started):
                self._send(time.monotonic() - started)
                self._watch()
                if time.monotonic() >= next_look:
                    self._look()
                    live.update(load_table(self._tally, self._plan))
                    next_look = time.monotonic() + _LOOK_SECONDS
            self._producer.flush(_SECONDS)
            self._look()

    def _done(self, elapsed: float) -> bool:
        over = elapsed - self._plan.seconds
        return over >= _LAST_ANSWER_SECONDS or (over >= _LOOK_SECONDS and self._tally.complete)

    def _send(self, elapsed: float) -> None:
        due = self._plan.due(elapsed)
        if due[Kind.PATIENT]:
            self._insert(due[Kind.PATIENT])
        for _ in range(due[Kind.INVALID]):
            self._produce(*self._next_broken())
            self._tally.sent[Kind.INVALID] += 1
        for _ in range(due[Kind.DUPLICATE]):
            if self._events:
                self._produce(*self._events.popleft())
                self._tally.sent[Kind.DUPLICATE] += 1

    def _insert(self, rows: int) -> None:
        patients = [next(self._patients) for _ in range(rows)]
        values = [patient[name] for patient in patients for name in FEATURE_NAMES]
        statement = sql.SQL("{}{} RETURNING id").format(_INSERT, sql.SQL(", ").join([_ROW] * rows))
        ids = self._database.execute(statement, values).fetchall()
        self._tally.waiting |= {one for (one,) in ids}
        self._keys |= {json.dumps({"id": one}, separators=(",", ":")).encode() for (one,) in ids}
        self._tally.sent[Kind.PATIENT] += rows

    def _next_broken(self) -> Event:
        self._broken += 1
        now_ms = time.time_ns() // 1_000_000
        event = change_event(
            NOBODY + self._broken, next(self._patients), lsn=self._broken, now_ms=now_ms
        )
        return broken_event(self._broken, event)

    def _produce(self, key: bytes | None, value: bytes | None) -> None:
        self._producer.produce(CDC_TOPIC, key=key, value=value)
        self._producer.poll(0)

    def _watch(self) -> None:
        """Keep the newest change events, to send some of them twice; takes the rest of a tick."""
        messages = self._consumer.consume(_KEPT_EVENTS, _TICK_SECONDS)
        for message in messages:
            # Only changes of this run: another's broken event sent again would be one more.
            if message.error() is None and message.key() in self._keys:
                self._events.append((message.key(), message.value()))

    def _look(self) -> None:
        self._tally.rejected = self._rejected() - self._rejected_before
        if not self._tally.waiting:
            return
        with self._database.cursor(row_factory=dict_row) as cursor:
            for row in cursor.execute(_ANSWERS, (list(self._tally.waiting),)):
                self._tally.answer(row.pop("intake_id"), row)

    def _rejected(self) -> int:
        return sum(place.offset for place in self._ends(REJECTED_TOPIC))

    def _ends(self, topic: str) -> list[TopicPartition]:
        known = self._consumer.list_topics(topic, timeout=_SECONDS).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in known]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=_SECONDS)[1]
        return places


def _patients(table: Path, seed: int) -> Iterator[Patient]:
    with table.open(encoding="utf-8", newline="") as lines:
        return sample_patients(read_patients(lines), seed)
