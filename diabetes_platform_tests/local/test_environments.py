"""Environments: every process knows what it needs and no other's secret."""

import re
import stat
from pathlib import Path

import pytest
import yaml

from diabetes_platform.local.environments import (
    own_environments,
    public_environment,
    write_environments,
)
from diabetes_platform.local.stack import STORAGE_USERS, Stack
from diabetes_platform.settings import PlatformSettings, Port
from diabetes_platform.warehouse.roles import ROLES


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(PlatformSettings(home=tmp_path, port_offset=100))


def passwords(stack: Stack) -> set[str]:
    stack.secrets  # noqa: B018 - made when they are first asked for
    return set(stack.secrets.values.values())


def test_what_every_process_inherits_holds_no_secret(stack: Stack) -> None:
    inherited = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "the caller's", "PC_PORT_NUM": "1"}
    public = public_environment(stack, java_home="/java", inherited=inherited)
    assert not passwords(stack) & set(public.values())
    assert "the caller's" not in public.values()
    assert "PC_PORT_NUM" not in public


def test_every_port_is_moved(stack: Stack) -> None:
    public = public_environment(stack, java_home="/java", inherited={})
    for port in Port:
        assert public[f"{port.name}_PORT"] == str(port + 100)


@pytest.mark.parametrize(
    ("process", "known"),
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
def test_a_process_knows_its_own_passwords_only(stack: Stack, process: str, known: int) -> None:
    values = own_environments(stack)[process].values()
    assert len(passwords(stack) & set(values)) == known


def test_the_pipeline_logs_in_as_itself_and_dagster_as_dagster(stack: Stack) -> None:
    dagster = own_environments(stack)["dagster"]
    assert dagster["PLATFORM_WAREHOUSE_URL"].startswith("postgresql://pipeline:")
    # The pipeline may not read predictions; checks that look at them are somebody else.
    assert dagster["PLATFORM_READER_URL"].startswith("postgresql://reader:")
    assert dagster["DAGSTER_POSTGRES_URL"].startswith("postgresql://dagster:")
    assert dagster["AWS_ACCESS_KEY_ID"] == "pipeline"


def test_the_files_are_for_their_owner_only(stack: Stack) -> None:
    write_environments(stack)
    for file in stack.environments.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.environments.stat().st_mode) == 0o700


def test_every_process_sources_a_file_that_is_written(stack: Stack) -> None:
    write_environments(stack)
    written = {f'"${{ENV_DIR}}/{file.name}"' for file in stack.environments.iterdir()}
    for process in yaml.safe_load(stack.compose_files[0].read_text())["processes"].values():
        (sourced,) = re.findall(r'; \. ("[^"]+")', process["command"])
        assert sourced in written
