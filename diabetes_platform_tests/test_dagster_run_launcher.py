"""The pod of a run: the launcher's configuration, then the graph's, then the run's own tag."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from diabetes_platform.dagster_run_launcher import GraphRunLauncher
from diabetes_platform.definitions import build_definitions
from diabetes_platform.orchestration.describe import GRAPH_TAG
from diabetes_platform_tests.infra.kubernetes.rendered import CHART, PROFILES, instance, render

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "users": [{"name": "none", "user": {}}],
}


@pytest.fixture
def launcher(tmp_path: Path) -> GraphRunLauncher:
    """The launcher as the chart configures it, with a cluster that nobody calls."""
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(KUBECONFIG), encoding="utf-8")
    config = instance(render())["run_launcher"]["config"]
    outside = {"load_incluster_config": False, "kubeconfig_file": str(file)}
    return GraphRunLauncher.from_config_value(None, {**config, **outside})


def pod(launcher: GraphRunLauncher, **tags: str) -> UserDefinedDagsterK8sConfig:
    run = dg.DagsterRun(
        job_name="job", tags={name.replace("__", "/"): v for name, v in tags.items()}
    )
    return launcher.get_container_context_for_run(run).run_k8s_config


def memory(config: UserDefinedDagsterK8sConfig) -> Any:
    return config.container_config["resources"]["limits"]["memory"]


def test_a_batch_has_more_memory_than_an_increment_of_the_stream(
    launcher: GraphRunLauncher,
) -> None:
    assert memory(pod(launcher, platform__graph="batch")) == "3Gi"
    assert memory(pod(launcher, platform__graph="stream")) == "768Mi"
    assert memory(pod(launcher)) == "768Mi"


def test_the_tag_of_a_run_overrides_its_graph(launcher: GraphRunLauncher) -> None:
    resources = {"limits": {"cpu": "8", "memory": "12Gi"}}
    tag = json.dumps({"container_config": {"resources": resources}})
    config = pod(launcher, platform__graph="batch", **{"dagster-k8s/config": tag})
    assert memory(config) == "12Gi"
    assert config.container_config["security_context"]["read_only_root_filesystem"] is True


def test_every_graph_of_the_values_is_the_tag_of_a_job() -> None:
    jobs = build_definitions().resolve_all_job_defs()
    graphs = {job.tags[GRAPH_TAG] for job in jobs if GRAPH_TAG in job.tags}
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    runs = schema["properties"]["dagster"]["properties"]["runs"]["properties"]
    assert runs["graphs"]["properties"].keys() == graphs
    config = instance(render())["run_launcher"]["config"]
    assert config["graphs"].keys() <= graphs


def test_dagster_accepts_the_configuration_of_the_chart() -> None:
    @dg.op(config_schema=GraphRunLauncher.config_type())
    def configured() -> None: ...

    @dg.job
    def job() -> None:
        configured()

    for profile in PROFILES:
        config = instance(render(profile))["run_launcher"]["config"]
        dg.validate_run_config(job, {"ops": {"configured": {"config": config}}})
