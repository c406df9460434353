"""The Kubernetes cluster: DNS, services, network policies, metrics, volumes, and its end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.clusters import tools
from diabetes_platform_tests.clusters.cluster import Cluster, own_cluster, running_cluster
from diabetes_platform_tests.clusters.oci_image import write_image
from diabetes_platform_tests.clusters.test_engine import SERVER
from diabetes_platform_tests.clusters.test_node import namespaces, remains

pytestmark = pytest.mark.kubernetes
IMAGE = "debian:bookworm-slim"
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the base image, a server `web` and a pod `client` in a namespace `test`."""
    archive = tmp_path_factory.mktemp("images") / "base.tar"
    write_image(
        tools.base_image().read_bytes(), f"docker.io/library/{IMAGE}", archive, entrypoint="/bin/sh"
    )
    with own_cluster(tmp_path_factory.mktemp("cluster"), [archive]) as cluster:
        cluster.create_namespace("test")
        apply(cluster, pod("web", ["perl", "-e", SERVER]))
        apply(cluster, pod("client", ["sleep", "100000"]))
        ports = [{"port": 80, "targetPort": 8000}]
        spec = {"selector": {"app": "web"}, "ports": ports}
        apply(cluster, {"apiVersion": "v1", "kind": "Service", **named("web"), "spec": spec})
        ready = ("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        cluster.kubectl("--namespace=test", *ready)
        # kube-proxy learns of the service a moment after its pod is ready.
        wait_until(lambda: get(cluster), timeout=60, retry_on=(PlatformError,))
        yield cluster


def named(name: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": {"app": name}}}


def pod(name: str, command: list[str], **spec: object) -> dict[str, Any]:
    container = {
        "name": name,
        "image": IMAGE,
        "command": command,
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        **named(name),
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }


def apply(cluster: Cluster, manifest: object) -> None:
    cluster.kubectl("--namespace=test", "apply", "--filename=-", manifest=manifest)


def get(cluster: Cluster) -> str:
    """Return the answer of the server `web` to the pod `client`, by the service's name."""
    script = "exec 3<>/dev/tcp/web/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    connect = ("timeout", "5", "bash", "-c", script)
    return cluster.kubectl("--namespace=test", "exec", "client", "--", *connect)


def policy(name: str, ingress: list[object]) -> dict[str, object]:
    selector = {"matchLabels": {"app": "web"}}
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_enforces_network_policies(cluster: Cluster) -> None:
    assert "hello" in get(cluster)
    apply(cluster, policy("default-deny", []))

    def refused() -> bool:
        try:
            get(cluster)
        except PlatformError:
            return True
        return False

    wait_until(refused, timeout=30)
    allowed = [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]
    apply(cluster, policy("client", [*allowed]))
    wait_until(lambda: "hello" in get(cluster), timeout=30, retry_on=(PlatformError,))
    cluster.kubectl("--namespace=test", "delete", "networkpolicy", "client")
    wait_until(refused, timeout=30)
    cluster.kubectl("--namespace=test", "delete", "networkpolicy", "default-deny")


def test_refuses_a_pod_that_is_not_restricted(cluster: Cluster) -> None:
    root = pod("root", ["sleep", "1"], hostNetwork=True)
    with pytest.raises(PlatformError, match='violates PodSecurity "restricted:latest"'):
        apply(cluster, root)


def test_measures_pods_for_the_autoscaler(cluster: Cluster) -> None:
    path = "/apis/metrics.k8s.io/v1beta1/namespaces/test/pods/web"
    metrics = wait_until(
        lambda: json.loads(cluster.kubectl("get", "--raw", path)),
        timeout=90,
        retry_on=(PlatformError,),
    )
    assert metrics["containers"][0]["usage"]["memory"].endswith("Ki")


def test_a_volume_outlives_its_pod(cluster: Cluster) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        **named("data"),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    apply(cluster, claim)
    for command in ("echo kept > /data/file", "grep kept /data/file"):
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        manifest = pod("writer", ["bash", "-c", command], restartPolicy="Never", volumes=[volume])
        manifest["spec"]["securityContext"] = {"fsGroup": 10001}
        manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        apply(cluster, manifest)
        succeeded = "--for=jsonpath={.status.phase}=Succeeded"
        wait = ("wait", succeeded, "pod/writer", "--timeout=60s")
        cluster.kubectl("--namespace=test", *wait)
        cluster.kubectl("--namespace=test", "delete", "pod", "writer")


def test_down_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    with own_cluster(directory) as cluster:
        own = namespaces(cluster.node.init)
        node = cluster.node
    assert remains(node, own) == []
    assert running_cluster(directory) is None
    assert not directory.exists()
