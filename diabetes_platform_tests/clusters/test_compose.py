"""The platform in containers on a Docker engine: batch, stream, data that outlive containers."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.api.client import example_patient, predict
from diabetes_platform.local.commands.secrets import write_compose_secrets
from diabetes_platform.local.dagster.client import DagsterClient, LaunchRequest
from diabetes_platform.local.targets import compose_stack
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port
from diabetes_platform_tests.clusters.engine import own_engine
from diabetes_platform_tests.clusters.images import build_images
from diabetes_platform_tests.clusters.remote import (
    final_state,
    read_page,
    send_patient,
    stored_patient,
    wait_for_prediction,
)
from diabetes_platform_tests.clusters.tools import node_directory

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]
COMPOSE = PROJECT_ROOT / "infra" / "compose"
UP_SECONDS = 900
RUN_SECONDS = 600.0
ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class ComposePlatform:
    """The platform of `infra/compose` on an engine, with `variables` for the compose file."""

    address: str
    variables: dict[str, str]
    docker: Callable[..., str]

    def compose(self, *arguments: str) -> str:
        return self.docker(
            "compose", f"--project-directory={COMPOSE}", *arguments, environment=self.variables
        )

    def up(self) -> None:
        """Start everything and wait until each service is healthy, or has ended without error."""
        # `--wait` fails when a set-up that no other service waits for has ended.
        self.compose("up", "--detach")
        wait_until(lambda: not self.pending(), timeout=UP_SECONDS, interval=2)

    def pending(self) -> list[str]:
        """Return the services that are not healthy yet; a set-up must have ended with code 0."""
        lines = self.compose("ps", "--all", "--format=json").splitlines()
        states = [json.loads(line) for line in lines]
        return [
            state["Service"]
            for state in states
            if state["Health"] not in {"", "healthy"}
            or (state["State"], state["ExitCode"]) not in {("running", 0), ("exited", 0)}
        ]

    def url(self, port: Port) -> str:
        return f"http://{self.address}:{port.value}"

    def run_batch(self) -> None:
        """Run the job `batch` to its end; fails unless it succeeds."""
        dagster = DagsterClient(self.url(Port.DAGSTER))
        run = dagster.launch(LaunchRequest("batch"))
        assert final_state(dagster, run, RUN_SECONDS) == "SUCCESS"
        # The API polls the model store.
        ready = f"{self.url(Port.API)}/ready"
        wait_until(
            lambda: httpx.get(ready, timeout=30, trust_env=False).is_success,
            timeout=ANSWER_SECONDS,
            interval=0.5,
        )

    def prediction(self, patient: int) -> dict[str, Any]:
        """Wait for the prediction that the stream stores for a patient, and return it."""
        return wait_for_prediction(self.url(Port.API), patient, ANSWER_SECONDS)

    def volumes(self) -> list[str]:
        return self.docker("volume", "ls", "--quiet", "--filter=name=diabetes-platform_").split()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposePlatform]:
    settings = PlatformSettings(home=tmp_path_factory.mktemp("home"))
    write_compose_secrets(settings, Console(file=io.StringIO()))
    with own_engine(node_directory("engine")) as engine:
        build_images(engine)
        address = engine.node.address
        variables = {
            "PLATFORM_ADDRESS": address,
            "PLATFORM_ENVIRONMENTS": str(compose_stack(settings).environments),
        }
        platform = ComposePlatform(address, variables, engine.docker)
        try:
            yield platform
        finally:
            platform.compose("down", "--volumes", "--timeout=5")


def test_batch_and_stream_work_and_the_data_outlive_the_containers(
    platform: ComposePlatform,
) -> None:
    check_platform(platform)


def check_platform(platform: ComposePlatform) -> None:
    platform.up()
    platform.run_batch()
    assert 'href="validations/' in read_page(platform.url(Port.API), "/data-docs/")
    predicted = predict(platform.url(Port.API), example_patient())
    first = send_patient(platform.url(Port.API))
    stored = platform.prediction(first)
    assert stored["model_version"] == predicted["model_version"]
    assert stored["probability"] == pytest.approx(predicted["probability"])

    platform.compose("down")
    assert platform.compose("ps", "--all", "--quiet") == ""
    platform.up()
    kept = stored_patient(platform.url(Port.API), first)
    assert {field.name for field in FEATURES} <= kept["measurements"].keys()
    assert kept["prediction"] == stored
    assert predict(platform.url(Port.API), example_patient()) == predicted
    second = send_patient(platform.url(Port.API))
    assert second > first
    assert platform.prediction(second)["model_version"] == stored["model_version"]

    platform.compose("down", "--volumes")
    assert platform.volumes() == []


def test_no_container_may_write_to_its_image_or_gain_rights(platform: ComposePlatform) -> None:
    for directory in ("/app", "/opt/platform", "/usr"):
        with pytest.raises(PlatformError):
            platform.compose("run", "--rm", "--no-deps", "minio", "touch", f"{directory}/file")
    assert platform.compose("run", "--rm", "--no-deps", "minio", "id", "-u").strip() == "10001"


def test_a_missing_file_of_variables_is_named(platform: ComposePlatform, tmp_path: Path) -> None:
    variables = {**platform.variables, "PLATFORM_ENVIRONMENTS": str(tmp_path)}
    with pytest.raises(PlatformError, match=r"kafka\.env"):
        ComposePlatform(platform.address, variables, platform.docker).compose(
            "run", "--rm", "--no-deps", "kafka", "true"
        )
