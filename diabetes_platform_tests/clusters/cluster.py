"""A Kubernetes cluster of one node, with DNS, network policies, metrics and volumes."""

import base64
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import free_port, listens
from diabetes_platform.local.processes import last_line, spawn, stop_group
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.clusters import components, node, tools
from diabetes_platform_tests.clusters.components import Components
from diabetes_platform_tests.clusters.engine import Engine
from diabetes_platform_tests.clusters.oci_image import tar, write_image
from diabetes_platform_tests.clusters.requirements import require

PACKAGES = {
    "containerd": "containerd",
    "conntrack": "conntrack",
    "ctr": "containerd",
    "ipset": "ipset",
    "ptp": "containernetworking-plugins",
    "runc": "runc",
    "socat": "socat",
}
MANIFESTS = tools.SOURCES / "cluster"
READY_SECONDS = 300
IDLE_SECONDS = 30
COREDNS_IMAGE = "registry.k8s.io/coredns/coredns:test"
VOLUMES = 16
STORAGE_CLASS = "local"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster; the machine reaches its services by `forward`."""

    node: node.Node

    @property
    def components(self) -> Components:
        """The command lines and files of its processes."""
        return Components(self.node.directory, self.node.address, self.node.cgroup)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for kubectl, helm and libraries."""
        return self.components.certificates / "admin.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which kubectl, helm and libraries use this cluster."""
        return {"KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *arguments: str, manifest: object = "") -> str:
        """Run kubectl and return its output; its input is `manifest`, an object or YAML."""
        command = [str(tools.tool("kubectl")), *arguments]
        variables = {**os.environ, **self.environment}
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        return node.run(command, environment=variables, text=text)

    def create_namespace(self, name: str) -> None:
        """Create a namespace with the strictest Pod Security."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": labels}
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.kubectl("apply", "--filename=-", manifest=manifest)

    @contextmanager
    def forward(self, address: str, port: int) -> Iterator[int]:
        """Connect a free port of 127.0.0.1, which is yielded, with a service of the cluster.

        Each connection is routed anew, so that it survives the end of a pod, unlike
        `kubectl port-forward`. A connection that is silent for `IDLE_SECONDS` is closed, because a
        pod that was killed closes none.
        """
        local = free_port()
        idle = f"-T{IDLE_SECONDS}"
        enter = (
            f"nsenter --target={self.node.init} --net socat {idle} STDIO TCP\\:{address}\\:{port}"
        )
        listen = f"TCP-LISTEN:{local},bind=127.0.0.1,fork,reuseaddr,backlog=128"
        log = self.node.log(f"forward-{address}-{port}")
        process = spawn(["socat", idle, listen, f"EXEC:{enter}"], log=log)
        try:
            wait_until(lambda: listens(local), timeout=10)
            yield local
        finally:
            stop_group(process, grace=2)

    def load(self, archive: Path) -> None:
        """Load the images of an archive, for example one that `docker save` has written."""
        self.node.run(*self._ctr("import", str(archive)))

    def load_from(self, engine: Engine, *images: str) -> None:
        """Load images of a Docker engine, without a file between."""
        variables = {**os.environ, **engine.environment}
        save = subprocess.Popen(["docker", "save", *images], env=variables, stdout=subprocess.PIPE)
        load = self.node.command(*self._ctr("import", "-"))
        with save:
            result = subprocess.run(
                load, stdin=save.stdout, capture_output=True, text=True, check=False
            )
        if save.returncode != 0 or result.returncode != 0:
            raise PlatformError(f"images {', '.join(images)} cannot be loaded: {result.stderr}")

    def tag(self, image: str, name: str) -> None:
        """Give a loaded image another name."""
        self.node.run(*self._ctr("tag", f"docker.io/{image}", f"docker.io/{name}"))

    @contextmanager
    def stopped(self, process: str) -> Iterator[None]:
        """Stop a process of the node during the block; it goes on afterwards."""
        self.node.run("pkill", "-STOP", "-f", process)
        try:
            yield
        finally:
            self.node.run("pkill", "-CONT", "-f", process)
            # nsenter stops with its command, and would not wait for the command's end.
            for child in self.node.children:
                child.send_signal(signal.SIGCONT)

    def down(self) -> None:
        """End the cluster and delete its data."""
        self.node.end()
        shutil.rmtree(self.node.directory)

    def _ctr(self, *arguments: str) -> Sequence[str]:
        socket = self.components.containerd_socket
        return ("ctr", f"--address={socket}", "--namespace=k8s.io", "images", *arguments)


def start_cluster(
    directory: Path, images: Sequence[Path] = (), *, ends_with_caller: bool = False
) -> Cluster:
    """Start a cluster with the images of some archives; PlatformError if it fails."""
    require({**node.PACKAGES, **PACKAGES})
    for program in ("kube", "kubectl"):
        tools.tool(program)  # Builds take minutes, and the API server below has a time limit.
    shutil.rmtree(directory, ignore_errors=True)
    machine = node.start_node(
        directory, sysctls=components.KUBELET_SYSCTLS, ends_with_caller=ends_with_caller
    )
    cluster = Cluster(machine)
    try:
        _start_control_plane(cluster)
        _start_runtime(cluster, images)
        _start_kubelet(cluster)
        _apply_addons(cluster)
    except BaseException:
        # The logs stay.
        machine.end()
        raise
    return cluster


@contextmanager
def own_cluster(directory: Path, images: Sequence[Path] = ()) -> Iterator[Cluster]:
    """Run a cluster; it ends with this process, however that ends."""
    cluster = start_cluster(directory, images, ends_with_caller=True)
    try:
        yield cluster
    finally:
        cluster.down()


def running_cluster(directory: Path) -> Cluster | None:
    """Return the cluster that runs in `directory`, or None."""
    machine = node.running_node(directory)
    return Cluster(machine) if machine else None


def _start_control_plane(cluster: Cluster) -> None:
    parts = cluster.components
    parts.write_certificates()
    cluster.node.start("etcd", *parts.etcd())
    cluster.node.start("apiserver", *parts.apiserver())
    _wait(cluster, "apiserver", "get", "--raw", "/readyz")
    cluster.node.start("controller-manager", *parts.controller_manager())
    cluster.node.start("scheduler", *parts.scheduler())


def _start_runtime(cluster: Cluster, images: Sequence[Path]) -> None:
    cluster.node.start("containerd", *cluster.components.containerd())
    wait_until(
        lambda: cluster.node.run(*cluster._ctr("list")),
        timeout=READY_SECONDS,
        retry_on=(PlatformError,),
    )
    for name, image in (("pause", components.PAUSE_IMAGE), ("coredns", COREDNS_IMAGE)):
        program = tools.tool(name)
        archive = cluster.node.directory / f"{name}.tar"
        layer = tar({name: program.read_bytes()}, mode=0o755)
        write_image(layer, image, archive, entrypoint=f"/{name}")
        cluster.load(archive)
        archive.unlink()
    for archive in images:
        cluster.load(archive)


def _start_kubelet(cluster: Cluster) -> None:
    parts = cluster.components
    node.create_cgroups(cluster.node.cgroup)
    cluster.node.start("kubelet", *parts.kubelet())
    cluster.node.start("kube-proxy", *parts.kube_proxy())
    # Without a route, the node's own connections fail before their address becomes a pod's.
    cluster.node.run("ip", "route", "add", components.SERVICES, "via", cluster.node.gateway)
    _wait(cluster, "kubelet", "get", "node", components.NAME)
    cluster.node.start("kube-router", *parts.kube_router())  # It ends if the node is missing.
    ready = ("--for=condition=Ready", f"node/{components.NAME}", f"--timeout={READY_SECONDS}s")
    cluster.kubectl("wait", *ready)


def _apply_addons(cluster: Cluster) -> None:
    cluster.node.start("metrics-server", *cluster.components.metrics_server())
    for manifest in (*_metrics_service(cluster), *_volumes(cluster)):
        cluster.kubectl("apply", "--filename=-", manifest=manifest)
    cluster.kubectl("apply", f"--filename={MANIFESTS}/coredns.yaml")
    rollout = ("rollout", "status", "deployment/coredns", f"--timeout={READY_SECONDS}s")
    cluster.kubectl("--namespace=kube-system", *rollout)
    _wait(cluster, "metrics-server", "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes")


def _metrics_service(cluster: Cluster) -> list[object]:
    """Return the objects with which the API server finds the metrics server on the node."""
    authority = (cluster.components.certificates / "ca.crt").read_bytes()
    metadata = {"name": "metrics-server", "namespace": "kube-system"}
    label = {"kubernetes.io/service-name": "metrics-server"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": label},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": components.METRICS_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [cluster.node.address]}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": metadata,
                "caBundle": base64.b64encode(authority).decode(),
            },
        },
    ]


def _volumes(cluster: Cluster) -> list[object]:
    """Return the default storage class and its volumes, which are directories of the node."""
    annotation = {"storageclass.kubernetes.io/is-default-class": "true"}
    objects: list[object] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE_CLASS, "annotations": annotation},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [components.NAME]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}}
    for number in range(VOLUMES):
        path = cluster.node.directory / "volumes" / str(number)
        path.mkdir(parents=True)
        spec = {
            "storageClassName": STORAGE_CLASS,
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(path)},
            "nodeAffinity": affinity,
        }
        volume = {"apiVersion": "v1", "kind": "PersistentVolume"}
        objects.append({**volume, "metadata": {"name": f"volume-{number}"}, "spec": spec})
    return objects


def _wait(cluster: Cluster, process: str, *request: str) -> None:
    """Wait until kubectl succeeds with `request`; PlatformError with the log of `process`."""
    try:
        wait_until(
            lambda: cluster.kubectl(*request) or True,
            timeout=READY_SECONDS,
            retry_on=(PlatformError,),
        )
    except PlatformError as error:
        raise PlatformError(f"{error}; {process}: {last_line(cluster.node.log(process))}") from None
