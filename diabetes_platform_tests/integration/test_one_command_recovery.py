"""`make up` alone repairs a platform that runs, has lost its supervisor, or had a power cut."""

import os
import signal

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from diabetes_platform.clients.connect import connector_state
from diabetes_platform.contract.topics import CONNECTOR, PREDICTOR_GROUP, REJECTED_TOPIC, SINK_TOPIC
from diabetes_platform.local.api.client import assigned_partitions
from diabetes_platform.local.locks import home_holder
from diabetes_platform.local.postgres.connection import WAREHOUSE_DATABASE, database_url
from diabetes_platform.local.postgres.data import SUPERUSER, running_server
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import supervised_processes
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.settings import Port
from diabetes_platform_tests.commands import command, finish
from diabetes_platform_tests.services import unhealthy_services, within

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
