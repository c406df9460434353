"""The private variables of compose and Kubernetes are those of the processes of `make up`."""

import base64
import json
import shlex
import stat
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.commands.secrets import kubernetes_secrets, write_compose_secrets
from diabetes_platform.local.services import process_environments
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.targets import compose_stack, kubernetes_stack
from diabetes_platform.settings import PlatformSettings, Port


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    return PlatformSettings(home=tmp_path)


def variables(file: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in file.read_text().splitlines())
    return {name: shlex.split(value)[0] if value else "" for name, value in pairs}


def secrets_of(manifests: str) -> dict[str, dict[str, str]]:
    return {
        secret["metadata"]["name"]: {
            name: base64.b64decode(value).decode() for name, value in secret["data"].items()
        }
        for secret in yaml.safe_load_all(manifests)
    }


def test_compose_has_a_file_for_each_process_with_the_names_of_make_up(
    settings: PlatformSettings,
) -> None:
    write_compose_secrets(settings, Console(quiet=True))
    stack = compose_stack(settings)
    local = process_environments(Stack(settings))
    assert {file.stem for file in stack.environments.iterdir()} == set(local)
    for process, environment in local.items():
        names = set(variables(stack.environments / f"{process}.env"))
        # Processes in other containers are not reached through a socket or the browser's address.
        only_here = {"PLATFORM_SUPERVISOR_SOCKET", "PLATFORM_STORAGE_CONSOLE_URL"}
        assert names == set(environment) - only_here


def test_compose_addresses_other_containers_by_name_and_default_port(
    settings: PlatformSettings,
) -> None:
    moved = settings.model_copy(update={"port_offset": 100})
    write_compose_secrets(moved, Console(quiet=True))
    directory = compose_stack(moved).environments
    predictor = variables(directory / "predictor.env")
    assert predictor["PLATFORM_KAFKA_SERVERS"] == "kafka:9092"
    assert predictor["PLATFORM_DATABASE_URL"].endswith("@postgres:5433/diabetes")
    assert predictor["AWS_ENDPOINT_URL"] == "http://minio:9000"
    assert variables(directory / "dagster.env")["SPARK_REMOTE"] == "sc://spark-connect:15002"
    assert not any("127.0.0.1" in file.read_text() for file in directory.iterdir())


def test_only_the_owner_can_reach_the_files_which_a_container_can_read(
    settings: PlatformSettings,
) -> None:
    write_compose_secrets(settings, Console(quiet=True))
    directory = compose_stack(settings).environments
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o444}


def test_repeating_the_command_keeps_the_passwords(settings: PlatformSettings) -> None:
    assert kubernetes_secrets(settings, "trial") == kubernetes_secrets(settings, "trial")
    assert kubernetes_secrets(settings, "trial") != kubernetes_secrets(settings, "other")


def test_kubernetes_has_a_secret_for_each_process_named_after_the_release(
    settings: PlatformSettings,
) -> None:
    secrets = secrets_of(kubernetes_secrets(settings, "trial"))
    processes = {*process_environments(Stack(settings)), "doctor"}
    assert set(secrets) == {f"trial-{process}" for process in processes}
    servers = secrets["trial-warehouse-setup"]["PLATFORM_POSTGRES_SERVER"]
    assert servers == "trial-postgres:5433"


def test_a_pod_has_the_passwords_of_the_doctor_in_its_environment(
    settings: PlatformSettings, tmp_path: Path
) -> None:
    text = secrets_of(kubernetes_secrets(settings, "trial"))["trial-doctor"]["PLATFORM_SECRETS"]
    pod = PlatformSettings(home=tmp_path / "pod", secrets=text)
    assert kubernetes_stack(pod, "trial").secrets.values == json.loads(text)
    assert not (tmp_path / "pod").exists()
    assert text not in repr(pod)


@pytest.mark.parametrize("text", ["", "[]", '{"postgres_password": 1}', "s3cret"])
def test_rejects_damaged_passwords_without_showing_them(tmp_path: Path, text: str) -> None:
    pod = PlatformSettings(home=tmp_path, secrets=text)
    with pytest.raises(PlatformError, match="PLATFORM_SECRETS is not a JSON object") as error:
        _ = kubernetes_stack(pod, "trial").secrets
    assert "s3cret" not in str(error.value)


def test_stores_outside_the_release_have_their_own_addresses(settings: PlatformSettings) -> None:
    external = settings.model_copy(
        update={"postgres_server": "db.example.org:5432", "kafka_servers": "k1:9092,k2:9092"}
    )
    url = "https://s3.example.org"
    secrets = secrets_of(kubernetes_secrets(external, "trial", storage_url=url))
    assert secrets["trial-api"]["AWS_ENDPOINT_URL"] == url
    assert secrets["trial-topics-setup"]["PLATFORM_KAFKA_SERVERS"] == "k1:9092,k2:9092"
    assert "@db.example.org:5432/" in secrets["trial-dagster"]["PLATFORM_WAREHOUSE_URL"]
    assert kubernetes_stack(external, "trial").url(Port.CONNECT) == "http://trial-connect:8083"
