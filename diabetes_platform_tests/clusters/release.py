"""A release of the chart on a test cluster: its installation, its pods, and its services."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from diabetes_platform.errors import PlatformError
from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.commands.secrets import kubernetes_secrets
from diabetes_platform.local.dagster.client import DagsterClient, LaunchRequest
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.targets import kubernetes_stack
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port
from diabetes_platform_tests.clusters import node, tools
from diabetes_platform_tests.clusters.cluster import Cluster
from diabetes_platform_tests.clusters.remote import final_state
from diabetes_platform_tests.storage import storage_of

CHART = PROJECT_ROOT / "infra" / "kubernetes"
INSTALL_TIMEOUT = "15m"
READY_SECONDS = 600
RUN_SECONDS = 900
_RUNS = """
query ($filter: RunsFilter) {
  runsOrError(filter: $filter) { ... on Runs { results { runId } } }
}
"""
_EVENTS = """
query ($run: ID!) {
  logsForRun(runId: $run, limit: 1000) {
    ... on EventConnection { events { ... on MessageEvent { eventType message } } }
  }
}
"""


@dataclass(frozen=True)
class Release:
    """A release `name` in `namespace`; its passwords are in the home of `settings`.

    `forwards` end with the release's block, `ports` are the local ones by service.
    """

    cluster: Cluster
    settings: PlatformSettings
    name: str
    namespace: str
    forwards: ExitStack = field(repr=False)
    ports: dict[str, int] = field(default_factory=dict)

    def create_namespace(self) -> None:
        """Create the namespace, with the strictest Pod Security, and the release's Secrets."""
        self.cluster.create_namespace(self.namespace)
        self.apply(
            kubernetes_secrets(self.settings, self.name, storage_url=self.settings.s3_endpoint)
        )

    def apply_stores(self, version: str) -> None:
        """Create only the stores of the chart, as servers that someone else runs."""
        options = (f"--values={CHART}/profiles/small.yaml", f"--set-string=image.tag={version}")
        text = self.helm("template", str(CHART), *options, "--set=image.pullPolicy=Never")
        stores = ("postgres", "kafka", "kafka-nodes", "minio", "process")
        names = {f"{self.name}-{store}" for store in stores}
        kinds = {"StatefulSet", "Service", "ServiceAccount"}
        for manifest in filter(None, yaml.safe_load_all(text)):
            if manifest["kind"] in kinds and manifest["metadata"]["name"] in names:
                self.apply(manifest)

    def apply(self, manifest: object) -> None:
        """Apply a manifest, an object or YAML, to the namespace."""
        self.kubectl("apply", "--filename=-", manifest=manifest)

    def kubectl(self, *arguments: str, manifest: object = "") -> str:
        """Run kubectl in the namespace and return its output."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, manifest=manifest)

    def helm(self, command: str, *arguments: str) -> str:
        """Run a command of helm on the release and return its output."""
        program = str(tools.tool("helm"))
        environment = {**os.environ, **self.cluster.environment}
        return node.run(
            [program, command, self.name, *arguments, f"--namespace={self.namespace}"],
            environment=environment,
        )

    def install(
        self,
        version: str,
        *values: str,
        profiles: Sequence[str] = ("small",),
        command: str = "install",
        timeout: str = INSTALL_TIMEOUT,
    ) -> None:
        """Install or upgrade the chart with images of `version` and wait for its hooks."""
        images = [f"--set-string=image.tag={version}", "--set=image.pullPolicy=Never"]
        options = [option for value in values for option in ("--set", value)]
        files = [f"--values={CHART}/profiles/{profile}.yaml" for profile in profiles]
        self.helm(command, str(CHART), *files, *images, *options, f"--timeout={timeout}")

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of a component that have not ended."""
        selector = f"app.kubernetes.io/component={component},app.kubernetes.io/instance={self.name}"
        pods = self._select(selector)
        return [pod for pod in pods if pod["status"]["phase"] not in {"Succeeded", "Failed"}]

    def _select(self, selector: str) -> list[dict[str, Any]]:
        answer = json.loads(self.kubectl("get", "pods", f"--selector={selector}", "--output=json"))
        items: list[dict[str, Any]] = answer["items"]
        return items

    def ready_pods(self, component: str) -> list[str]:
        """Return the names of the pods of a component that are ready and stay."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods(component)
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in pod["status"].get("conditions", [])
            )
        ]

    def wait_ready(self, component: str, count: int = 1) -> None:
        """Wait until exactly `count` pods of a component exist, all ready."""
        wait_until(
            lambda: len(self.ready_pods(component)) == count == len(self.pods(component)),
            timeout=READY_SECONDS,
            interval=1,
        )

    def replace_pod(self, component: str) -> None:
        """Delete a pod of a component without a grace period, and wait for its successor."""
        count = len(self.ready_pods(component))
        pod = self.pods(component)[0]["metadata"]
        self.kubectl("delete", "pod", pod["name"], "--grace-period=0", "--force", "--wait=false")
        wait_until(
            lambda: pod["uid"] not in [p["metadata"]["uid"] for p in self.pods(component)],
            timeout=READY_SECONDS,
            interval=0.5,
        )
        self.wait_ready(component, count)

    def metric(self, pod: str, port: Port, name: str) -> float:
        """Return a metric of a pod, read through the API server."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port.value}/proxy/metrics"
        lines = self.kubectl("get", "--raw", path).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def url(self, service: str, port: Port) -> str:
        """Return the URL at which this machine reaches a service."""
        return f"http://{HOST}:{self.port(service, port)}"

    def port(self, service: str, port: Port) -> int:
        """Return the port of 127.0.0.1 that is connected with a service."""
        if service not in self.ports:
            resource = ("get", "service", f"{self.name}-{service}")
            address = self.kubectl(*resource, "--output=jsonpath={.spec.clusterIP}")
            forward = self.cluster.forward(address, port.value)
            self.ports[service] = self.forwards.enter_context(forward)
        return self.ports[service]

    @property
    def stack(self) -> Stack:
        """The release with its stores as this machine reaches them."""
        services = {"postgres": Port.POSTGRES, "minio": Port.MINIO}
        addresses = {port: f"{HOST}:{self.port(name, port)}" for name, port in services.items()}
        return replace(kubernetes_stack(self.settings, self.name), addresses=addresses)

    @property
    def warehouse(self) -> str:
        """The URL of the warehouse for the superuser."""
        return database_url(self.stack, SUPERUSER, WAREHOUSE_DATABASE)

    @property
    def lake(self) -> Lake:
        """The release's lake."""
        return Lake("s3://lake", storage_of(self.stack).s3("pipeline"))

    @property
    def dagster(self) -> DagsterClient:
        """A client of the release's Dagster."""
        return DagsterClient(self.url("dagster-webserver", Port.DAGSTER))

    def launch(self, job: str) -> str:
        """Put a run of a job into the queue and return its id."""
        return wait_until(
            lambda: self.dagster.launch(LaunchRequest(job)),
            timeout=READY_SECONDS,
            interval=2,
            retry_on=(PlatformError,),
        )

    def run_status(self, run: str) -> str:
        """Wait for the end of a run and return its status."""
        return final_state(self.dagster, run, RUN_SECONDS)

    def run_pods(self, run: str) -> list[dict[str, Any]]:
        """Return the pods of a run: one, unless it has none yet."""
        return self._select(f"dagster/run-id={run}")

    def events(self, run: str) -> str:
        """Return types and messages of a run's events."""
        events = self.dagster.query(_EVENTS, run=run)["logsForRun"]["events"]
        return "\n".join(f"{event['eventType']}: {event['message']}" for event in events)

    def retry_of(self, run: str) -> str:
        """Return the id of the run that repeats a failed run, "" if there is none."""
        filters = {"tags": [{"key": "dagster/parent_run_id", "value": run}]}
        runs = self.dagster.query(_RUNS, filter=filters)["runsOrError"]["results"]
        return str(runs[0]["runId"]) if runs else ""


@contextmanager
def own_release(
    cluster: Cluster,
    home: Path,
    name: str = "clinic",
    namespace: str = "diabetes",
    **addresses: str,
) -> Iterator[Release]:
    """Yield a release that is not installed yet, with its namespace and Secrets.

    `addresses` are settings: the stores outside of it.
    """
    with ExitStack() as forwards:
        settings = PlatformSettings(home=home).model_copy(update=addresses)
        release = Release(cluster, settings, name, namespace, forwards)
        release.create_namespace()
        yield release
