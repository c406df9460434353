"""The compose file: the processes of `make up`, as restricted containers."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from diabetes_platform.local.services import process_environments, process_files
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.targets import SERVER_NAMES
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port

COMPOSE = PROJECT_ROOT / "infra" / "compose" / "compose.yaml"
DOCKERFILE = PROJECT_ROOT / "infra" / "images" / "Dockerfile"
CONDITIONS = {
    "process_completed_successfully": "service_completed_successfully",
    "process_healthy": "service_healthy",
}
PROBE = "/app/infra/images/probe.sh"


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


SERVICES: dict[str, dict[str, Any]] = compose()["services"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(PlatformSettings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def processes(stack: Stack) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in process_files(stack):
        merged |= yaml.safe_load(file.read_text(encoding="utf-8")).get("processes", {})
    return merged


def test_has_the_processes_of_the_platform(processes: dict[str, Any]) -> None:
    assert SERVICES.keys() == processes.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_starts_the_script_of_the_process(name: str, processes: dict[str, Any]) -> None:
    assert SERVICES[name]["command"][0] == name
    assert processes[name]["command"].rstrip().endswith(f'exec sh "${{INFRA}}/processes/{name}.sh"')
    assert (PROJECT_ROOT / "infra" / "processes" / f"{name}.sh").exists()


@pytest.mark.parametrize("name", SERVICES)
def test_waits_for_the_same_processes(name: str, processes: dict[str, Any]) -> None:
    expected = {
        other: {"condition": CONDITIONS[dependency["condition"]]}
        for other, dependency in processes[name].get("depends_on", {}).items()
    }
    assert SERVICES[name].get("depends_on", {}) == expected


@pytest.mark.parametrize("name", SERVICES)
def test_is_probed_like_the_process(name: str, processes: dict[str, Any]) -> None:
    probe = processes[name].get("readiness_probe")
    check = SERVICES[name].get("healthcheck")
    if probe is None:
        assert check is None
        return
    assert check is not None
    # Both give up after ten minutes.
    seconds = float(check["interval"].removesuffix("s")) * check["retries"]
    assert seconds == probe["period_seconds"] * probe["failure_threshold"]
    if (http := probe.get("http_get")) is not None:
        port = Port[http["port"].removeprefix("${").removesuffix("_PORT}")]
        assert check["test"][1] == PROBE
        assert check["test"][3:] == [str(port.value), http["path"]]
    elif match := re.search(r"/dev/tcp/127.0.0.1/\$\{(\w+)_PORT\}", probe["exec"]["command"]):
        assert check["test"][1] == PROBE
        assert check["test"][3:] == [str(Port[match[1]].value)]
    else:
        program = "test" if name == "stream-job" else "pg_isready"
        assert program in probe["exec"]["command"]
        assert check["test"][1].endswith(program)


@pytest.mark.parametrize("name", SERVICES)
def test_stops_like_the_process(name: str, processes: dict[str, Any]) -> None:
    shutdown = processes[name].get("shutdown")
    if shutdown is not None:
        signal = {2: "SIGINT", 15: None}[shutdown["signal"]]
        assert SERVICES[name].get("stop_signal") == signal
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace >= shutdown["timeout_seconds"]


@pytest.mark.parametrize("name", SERVICES)
def test_gets_the_private_variables_of_the_process(name: str, stack: Stack) -> None:
    environments = process_environments(stack)
    (secret,) = SERVICES[name]["secrets"]
    assert secret == f"{name if name in environments else name.partition('-')[0]}.env"
    assert compose()["secrets"][secret]["file"].endswith(f"/stack/run/env}}/{secret}")


def test_mounts_no_file_that_is_not_written(stack: Stack) -> None:
    files = {f"{name}.env" for name in process_environments(stack)}
    assert compose()["secrets"].keys() <= files


@pytest.mark.parametrize("name", SERVICES)
def test_is_restricted(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert "privileged" not in service
    assert "network_mode" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_has_a_version_that_is_not_latest(name: str) -> None:
    image, _, version = SERVICES[name]["image"].partition(":")
    assert image.startswith("diabetes-platform/")
    assert version.startswith("${PLATFORM_VERSION")
    assert image.removeprefix("diabetes-platform/") in targets()


def test_publishes_the_ports_of_the_platform_on_this_machine_only() -> None:
    published = {}
    for name, service in SERVICES.items():
        for mapping in service.get("ports", []):
            address, port, _ = re.fullmatch(r"(\$\{.*?\}):(\d+):(\d+)", mapping).groups()  # type: ignore[union-attr]
            assert address == "${PLATFORM_ADDRESS:-127.0.0.1}"
            published[Port(int(port))] = name
    assert published.keys() >= SERVER_NAMES.keys()
    for port, name in SERVER_NAMES.items():
        assert published[port] == name


def test_every_dependency_of_the_demo_is_part_of_it() -> None:
    for name, service in SERVICES.items():
        if "demo" in service["profiles"]:
            for other in service.get("depends_on", {}):
                assert "demo" in SERVICES[other]["profiles"], f"{name} waits for {other}"


def targets() -> set[str]:
    return set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE))


def test_images_know_the_ports_of_the_platform() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    ports = {name: int(port) for name, port in re.findall(r"\b([A-Z_]+)_PORT=(\d+)", text)}
    assert ports == {port.name: port.value for port in Port}


def test_images_start_from_one_base_without_a_tag_that_moves() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    sources = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - targets()
    assert sources == {"debian:bookworm-slim"}
    assert ":latest" not in text
    assert "# syntax=" not in text


@pytest.mark.parametrize("secret", ["ca"])
def test_images_receive_certificates_as_a_secret_only(secret: str) -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert f"--mount=type=secret,id={secret}" in text
    assert not re.search(r"^(COPY|ADD|ARG|ENV).*(\.crt|CERT)", text, re.MULTILINE)


@pytest.mark.parametrize("script", sorted(Path(PROJECT_ROOT / "infra/processes").glob("*.sh")))
def test_a_script_describes_itself_and_ends_with_its_program(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any(line.startswith("exec ") for line in lines)
