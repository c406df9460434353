"""One round: rows inserted at a steady rate, and when each one's event reached a consumer."""

import itertools
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from confluent_kafka import TopicPartition

from diabetes_platform.contract.topics import CDC_TOPIC
from diabetes_platform_tests.capture import Connect

INSERT = """
INSERT INTO diabetes_new (pregnancies, glucose, bmi, diabetes_pedigree_function, age)
VALUES (1, 120, 28.5, 0.4, 33) RETURNING id
"""
LOST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Round:
    """Milliseconds from before an INSERT was sent until its event was read, sorted; CPU shares.

    A share of 1 is one core of Connect's.
    """

    latencies: Sequence[float]
    rows_per_second: float
    idle: float
    loaded: float

    def quantile(self, share: float) -> float:
        """Return the latency that `share` of the rows does not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def measure(connect: Connect, rate: float, seconds: float, warm_up: float) -> Round:
    """Insert `rate` rows a second for `seconds` and return the measurements.

    Rows of the first `warm_up` seconds do not count. Raises RuntimeError if an event is lost.
    """
    idle = _cpu_share(connect.pid, 5.0)
    warm_up_rows, rows = int(rate * warm_up), int(rate * seconds)
    arrived: dict[int, float] = {}
    starts = connect.kafka.ends(CDC_TOPIC)
    total = warm_up_rows + rows
    reader = threading.Thread(target=_read, args=(connect, starts, arrived, total))
    reader.start()
    cpu_at_start, started = _cpu_seconds(connect.pid), time.perf_counter()
    sent = _insert(connect.database.server.url("diabetes"), rate, total)
    elapsed = time.perf_counter() - started
    loaded = (_cpu_seconds(connect.pid) - cpu_at_start) / elapsed
    reader.join()
    lost = sent.keys() - arrived.keys()
    if lost:
        raise RuntimeError(f"{len(lost)} of {total} events did not arrive")
    counted = list(itertools.islice(sent.items(), warm_up_rows, None))
    latencies = sorted(1000 * (arrived[patient] - at) for patient, at in counted)
    return Round(latencies, total / elapsed, idle, loaded)


def _insert(url: str, rate: float, rows: int) -> dict[int, float]:
    """Insert at a steady rate, each row in its own transaction; return the send times by id."""
    sent: dict[int, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        first = time.perf_counter()
        for number in range(rows):
            time.sleep(max(0.0, first + number / rate - time.perf_counter()))
            at = time.perf_counter()
            row = connection.execute(INSERT).fetchone()
            if row is not None:
                sent[row[0]] = at
    return sent


def _read(
    connect: Connect, starts: list[TopicPartition], arrived: dict[int, float], rows: int
) -> None:
    for message in connect.kafka.messages(starts, LOST_SECONDS):
        at = time.perf_counter()
        patient = json.loads(message.value() or b"")["after"]["id"]
        arrived.setdefault(patient, at)
        if len(arrived) == rows:
            return


def _cpu_share(pid: int, seconds: float) -> float:
    cpu_at_start = _cpu_seconds(pid)
    time.sleep(seconds)
    return (_cpu_seconds(pid) - cpu_at_start) / seconds


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, or NaN on a system without /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return float("nan")
    user, system = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
