"""The services: private variables, files and order of their processes."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from diabetes_platform.local.services import (
    process_environments,
    process_files,
    process_order,
    supervisor_environment,
    write_environments,
)
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.local.stack import STORAGE_USERS, Stack
from diabetes_platform.settings import PlatformSettings, Port
from diabetes_platform.warehouse.roles import ROLES


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(PlatformSettings(home=tmp_path, port_offset=100))


def processes(stack: Stack) -> dict[str, Any]:
    """Return the configuration of every process by its name; later files override earlier ones."""
    merged: dict[str, Any] = {}
    for file in process_files(stack):
        merged |= yaml.safe_load(file.read_text()).get("processes", {})
    return merged


def passwords(stack: Stack) -> set[str]:
    stack.secrets  # noqa: B018 - creates the passwords
    return set(stack.secrets.values.values())


def test_the_supervisor_environment_has_no_secret(stack: Stack) -> None:
    inherited = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "the caller's", "PC_PORT_NUM": "1"}
    environment = supervisor_environment(stack, java_home="/java", inherited=inherited)
    assert not passwords(stack) & set(environment.values())
    assert "the caller's" not in environment.values()
    assert "PC_PORT_NUM" not in environment


def test_the_offset_moves_every_port(stack: Stack) -> None:
    environment = supervisor_environment(stack, java_home="/java", inherited={})
    for port in Port:
        assert environment[f"{port.name}_PORT"] == str(port + 100)


@pytest.mark.parametrize(
    ("process", "count"),
    [
        ("minio", 1),
        ("storage-setup", 1 + len(STORAGE_USERS)),
        ("postgres", 1),
        ("warehouse-setup", 1 + len(ROLES)),
        ("kafka", 0),
        ("connect", 1),
        ("connector-setup", 1),
        ("spark-connect", 1),
        ("flink-jobmanager", 1),
        ("api", 1),
    ],
)
def test_a_process_gets_only_its_own_passwords(stack: Stack, process: str, count: int) -> None:
    values = process_environments(stack)[process].values()
    assert len(passwords(stack) & set(values)) == count


def test_the_pipeline_logs_in_as_itself_and_dagster_as_dagster(stack: Stack) -> None:
    dagster = process_environments(stack)["dagster"]
    assert dagster["PLATFORM_WAREHOUSE_URL"].startswith("postgresql://pipeline:")
    # The pipeline may not read predictions; the checks that do log in as the reader.
    assert dagster["PLATFORM_READER_URL"].startswith("postgresql://reader:")
    assert dagster["DAGSTER_POSTGRES_URL"].startswith("postgresql://dagster:")
    assert dagster["AWS_ACCESS_KEY_ID"] == "pipeline"


def test_only_the_owner_may_read_the_files(stack: Stack) -> None:
    write_environments(stack)
    for file in stack.environments.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.environments.stat().st_mode) == 0o700


def test_every_process_sources_a_file_that_is_written(stack: Stack) -> None:
    write_environments(stack)
    written = {f'"${{ENV_DIR}}/{file.name}"' for file in stack.environments.iterdir()}
    for process in processes(stack).values():
        (sourced,) = re.findall(r'; \. ("[^"]+")', process["command"])
        assert sourced in written


def test_a_cluster_starts_before_the_server_that_uses_it(tmp_path: Path) -> None:
    cluster = Stack(PlatformSettings(home=tmp_path), SparkMode.CLUSTER)
    order = process_order(cluster)
    assert order[0] == "minio"
    assert (
        order.index("spark-master") < order.index("spark-worker-2") < order.index("spark-connect")
    )
    assert set(order) == {*processes(cluster)}
    assert "spark-master" not in process_order(Stack(PlatformSettings(home=tmp_path)))
