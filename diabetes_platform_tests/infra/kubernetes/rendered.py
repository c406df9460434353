"""The manifests that Helm renders from the chart and its profiles."""

import functools
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.clusters.tools import tool

CHART = PROJECT_ROOT / "infra" / "kubernetes"
PROFILES = ["default", *sorted(file.stem for file in (CHART / "profiles").glob("*.yaml"))]
TAG = "0123456789ab"
RELEASE = "clinic"
Manifest = Mapping[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(tool("helm")), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@functools.cache
def render_text(profile: str = "default", release: str = RELEASE, *options: str) -> str:
    files = [] if profile == "default" else ["--values", str(CHART / f"profiles/{profile}.yaml")]
    tag = ["--set", f"image.tag={TAG}"]
    result = helm("template", release, str(CHART), "--namespace", "data", *files, *tag, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


@functools.cache
def render(profile: str = "default", release: str = RELEASE, *options: str) -> list[Manifest]:
    documents = yaml.load_all(render_text(profile, release, *options), yaml.CSafeLoader)
    return [manifest for manifest in documents if manifest]


def by_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def instance(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the instance configuration of Dagster."""
    (config,) = (m for name, m in by_kind(manifests, "ConfigMap").items() if "instance" in name)
    parsed: dict[str, Any] = yaml.safe_load(config["data"]["dagster.yaml"])
    return parsed


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the pod templates by component, Spark's executors included."""
    templates = {}
    for manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if manifest["kind"] == "Pod":
            template = manifest
        if template is not None:
            templates[component(template)] = template
        executor = manifest.get("data", {}).get("executor.yaml")
        if executor is not None:
            template = yaml.safe_load(executor)
            templates[component(template)] = template
    return templates


def containers(template: Manifest) -> Iterator[Manifest]:
    yield from template["spec"].get("initContainers", [])
    yield from template["spec"]["containers"]


def component(manifest: Manifest) -> str:
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])


def secret_names(template: Manifest) -> set[str]:
    return {
        source["secretRef"]["name"]
        for container in containers(template)
        for source in container.get("envFrom", [])
    }


def selects(selector: Mapping[str, str], template: Manifest) -> bool:
    return selector.items() <= template["metadata"]["labels"].items()
