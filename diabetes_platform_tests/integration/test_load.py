"""`diabetes load` on the running platform: all messages are accounted for, and Ctrl-C ends it."""

import re
import signal
import time
from collections.abc import Iterator

import psycopg
import pytest

from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.released_model import released
from diabetes_platform_tests.services import within
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COLUMNS = ("sent", "answered", "waiting", "invalid", "rejected", "duplicates")
RATE, SECONDS = 20, 10


@pytest.fixture(scope="module", autouse=True)
def model(storage: Storage) -> Iterator[None]:
    with released(storage):
        yield


def last_counts(output: str) -> dict[str, int]:
    """Return the counts of the last table of a run."""
    rows = re.findall(r"│ +" + r" +│ +".join([r"([\d,]+)"] * len(COLUMNS)) + r" +│", output)
    assert rows, output
    return dict(zip(COLUMNS, (int(count.replace(",", "")) for count in rows[-1]), strict=True))


def patients(stack: Stack) -> int:
    with psycopg.connect(database_url(stack, "postgres", "diabetes")) as connection:
        row = connection.execute("SELECT count(*) FROM public.diabetes_new").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.slow
def test_every_sent_message_is_predicted_rejected_or_a_duplicate(stack: Stack) -> None:
    within(
        60, lambda: (counters := stream_job_of(stack).counters) is not None and counters.balanced
    )
    initial, stored = stream_job_of(stack).counters, patients(stack)
    shares = ("--invalid", "20%", "--duplicates", "20%")
    run = command(stack.base_settings, "load", "--rate", str(RATE), "--for", str(SECONDS), *shares)
    code, output = finish(run)
    counted = last_counts(output)
    assert code == 0, output
    assert counted["sent"] + counted["invalid"] + counted["duplicates"] <= RATE * SECONDS
    assert min(counted["sent"], counted["invalid"], counted["duplicates"]) > 0
    assert (counted["answered"], counted["waiting"]) == (counted["sent"], 0)
    assert counted["rejected"] == counted["invalid"]
    assert patients(stack) == stored + counted["sent"]
    assert re.search(r"total +│ commit → stored row +│ +[\d.]+ │ +[\d.]+ │", output)

    def duplicates_counted() -> bool:
        current = stream_job_of(stack).counters
        assert initial is not None
        if current is None:
            return False
        return current.duplicates - initial.duplicates == counted["duplicates"]

    within(30, duplicates_counted)


@pytest.mark.slow
def test_ctrl_c_ends_the_load_at_once_and_prints_the_counts(stack: Stack) -> None:
    initial = patients(stack)
    run = command(stack.base_settings, "load", "--rate", str(RATE), "--for", "600")
    within(60, lambda: patients(stack) >= initial + RATE)
    interrupted = time.monotonic()
    run.send_signal(signal.SIGINT)
    code, output = finish(run, seconds=30)
    assert time.monotonic() - interrupted < 15
    assert code == 130, output
    assert last_counts(output)["sent"] >= RATE
    assert "Traceback" not in output
    stored = patients(stack) - initial
    # The last statement may have been committed after the command stopped waiting for it.
    assert last_counts(output)["sent"] <= stored <= last_counts(output)["sent"] + RATE
    time.sleep(1)
    assert patients(stack) - initial == stored
