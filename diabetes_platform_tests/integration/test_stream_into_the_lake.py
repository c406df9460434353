"""Every message of the stream is in the lake exactly once after services are killed."""

import logging
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import psycopg
import pytest

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform_tests.running_dagster import run_processes
from diabetes_platform_tests.services import state_of, within
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(1800)]
logger = logging.getLogger(__name__)

MESSAGES, KILLS, RATE = 10_000, 20, 40
RUN = "a run"
VICTIMS = ("dagster-daemon", RUN, "kafka", "dagster-code")
ARRIVED_SECONDS = 300.0
INSERT = """
INSERT INTO public.diabetes_new (pregnancies, glucose, blood_pressure, skin_thickness, insulin,
    bmi, diabetes_pedigree_function, age)
VALUES (1, %s, 70, NULL, NULL, 31.5, 0.4, 40) RETURNING id
"""


def write(url: str) -> set[int]:
    """Insert patients one after the other; return their ids."""
    ids, chance = set(), random.Random(MESSAGES)
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(MESSAGES):
            row = connection.execute(INSERT, (chance.randrange(70, 199),)).fetchone()
            assert row is not None
            ids.add(int(row[0]))
            time.sleep(1 / RATE)
    return ids


def active_runs(stack: Stack) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return run_processes(state_of(stack, "dagster-code").pid)
    return []


def kill(stack: Stack, victim: str) -> None:
    """Kill a victim, and wait until the supervisor has restarted it."""
    if victim == RUN:
        runs = wait_until(lambda: active_runs(stack), timeout=120)
        runs[0].kill()
        return
    killed = state_of(stack, victim)
    os.kill(killed.pid, signal.SIGKILL)
    within(120, lambda: (state := state_of(stack, victim)).healthy and state.pid != killed.pid)


def lake_counts(storage: Storage) -> Counter[int]:
    """Return the number of rows of each patient in the lake."""
    target = Lake("s3://lake", storage.s3("pipeline")).table(STREAM_PATIENTS)
    if not target.exists():
        return Counter()
    return Counter(target.open().to_pyarrow_dataset().to_table(columns=["id"])["id"].to_pylist())


def test_each_of_ten_thousand_messages_is_stored_once_after_twenty_kills(
    stack: Stack, storage: Storage
) -> None:
    url = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)
    chance, waiting = random.Random(KILLS), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, url)
        for number in range(KILLS):
            victim = VICTIMS[number % len(VICTIMS)]
            kill(stack, victim)
            logger.info("%s: killed %s, %s in the lake", number, victim, len(lake_counts(storage)))
            waiting.wait(chance.uniform(1, 10))
        ids = writing.result()
    within(ARRIVED_SECONDS, lambda: ids <= lake_counts(storage).keys())

    rows = lake_counts(storage)
    assert {rows[patient_id] for patient_id in ids} == {1}
