"""`make up` alone repairs a platform that runs, has lost its supervisor, or had a power cut."""

import os
import signal
from contextlib import suppress

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from diabetes_platform.clients.connect import connector_state
from diabetes_platform.contract.topics import (
    CONNECTOR,
    FLINK_GROUP,
    PREDICTOR_GROUP,
    REJECTED_TOPIC,
    SINK_TOPIC,
)
from diabetes_platform.local.api.client import assigned_partitions
from diabetes_platform.local.locks import home_holder
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import supervised_processes
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.settings import Port
from diabetes_platform.streaming.offset_gaps import poll_groups
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.released_model import prediction_count, released
from diabetes_platform_tests.samples import EXAMPLE
from diabetes_platform_tests.services import stop_process, unhealthy_services, within
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


def up(stack: Stack) -> str:
    """Run `diabetes up` once; return its output."""
    code, output = finish(command(stack.base_settings, "up"))
    assert code == 0, output
    assert unhealthy_services(stack) == []
    assert assigned_partitions(stack.url(Port.PREDICTOR)) == 4
    return output


def supervisor_pid(stack: Stack) -> int:
    holder = home_holder(stack.home)
    assert holder is not None
    return int(holder.pid)


def test_after_the_supervisor_was_killed(stack: Stack) -> None:
    killed = supervisor_pid(stack)
    os.kill(killed, signal.SIGKILL)
    assert running_server(stack.layout.postgres) is not None
    assert "the supervisor has ended" in up(stack)
    assert supervisor_pid(stack) != killed
    assert Supervisor(stack.layout).answers()


def test_after_a_power_cut(stack: Stack) -> None:
    processes = supervised_processes(stack.layout.home)
    sessions = [session for process in processes for session in process.children(recursive=True)]
    for process in {*processes, *sessions}:
        # A process may end with its parent.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    up(stack)


def test_after_connector_topic_and_role_were_deleted(stack: Stack) -> None:
    connect = stack.url(Port.CONNECT)
    httpx.delete(f"{connect}/connectors/{CONNECTOR}", trust_env=False).raise_for_status()
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{stack.port(Port.KAFKA)}"})
    admin.delete_topics([REJECTED_TOPIC])[REJECTED_TOPIC].result()
    with psycopg.connect(
        database_url(stack, SUPERUSER, WAREHOUSE_DATABASE), autocommit=True
    ) as connection:
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")
    up(stack)
    within(30, lambda: connector_state(connect, CONNECTOR).running)
    assert REJECTED_TOPIC in admin.list_topics(timeout=10).topics
    assert SINK_TOPIC in admin.list_topics(timeout=10).topics
    group = admin.describe_consumer_groups([PREDICTOR_GROUP])[PREDICTOR_GROUP].result()
    assert len(group.members) == 1
    with psycopg.connect(database_url(stack, "reader", WAREHOUSE_DATABASE)) as connection:
        connection.execute("SELECT FROM serving.predictions")


def test_after_a_bucket_and_the_consumer_groups_were_deleted(
    stack: Stack, storage: Storage
) -> None:
    servers = f"127.0.0.1:{stack.port(Port.KAFKA)}"
    admin = AdminClient({"bootstrap.servers": servers})
    predictions = "SELECT * FROM serving.predictions ORDER BY intake_id, source_lsn, model_version"
    with (
        released(storage),
        psycopg.connect(database_url(stack, SUPERUSER, WAREHOUSE_DATABASE)) as database,
    ):
        database.autocommit = True
        patient = f"{stack.url(Port.API)}/patients"
        response = httpx.post(patient, json=EXAMPLE, trust_env=False).raise_for_status()
        within(60, lambda: prediction_count(database, response.json()["id"]))
        within(60, lambda: all(poll.lag == 0 for poll in poll_groups(servers)))
        initial = database.execute(predictions.encode()).fetchall()
        # Kafka deletes no group that has members.
        stop_process(stack, "predictor")
        for future in admin.delete_consumer_groups([FLINK_GROUP, PREDICTOR_GROUP]).values():
            future.result(30)
        _, predictor = poll_groups(servers)
        assert predictor.offsets.committed == {}
        storage.delete_bucket("logs")
        up(stack)
        within(60, lambda: all(poll.lag == 0 for poll in poll_groups(servers)))
        assert all(poll.offsets.committed for poll in poll_groups(servers))
        assert database.execute(predictions.encode()).fetchall() == initial
    assert storage.client(ROOT).bucket_exists(bucket_name="logs")
