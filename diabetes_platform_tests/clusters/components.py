"""The processes of a cluster's node: their command lines and configuration files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from diabetes_platform_tests.clusters.certificates import Authority
from diabetes_platform_tests.clusters.tools import tool

NAME = "node-1"
PODS = "10.244.0.0/16"
NODE_PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
METRICS_PORT = 4443
PAUSE_IMAGE = "registry.k8s.io/pause:test"
KUBELET_SYSCTLS = {
    "kernel.keys.root_maxbytes": "25000000",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
}
"""The kubelet's values of settings that the kernel has once for the whole machine."""

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Components:
    """The components of the cluster at `address` with its files in `directory`."""

    directory: Path
    address: str
    cgroup: str

    @property
    def certificates(self) -> Path:
        """The directory with keys, certificates and kubeconfigs."""
        return self.directory / "certificates"

    @property
    def api_server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.address}:6443"

    @property
    def containerd_socket(self) -> Path:
        """The socket of containerd, inside the node."""
        return Path("/run/containerd/containerd.sock")

    def write_certificates(self) -> None:
        """Create the authority, the servers' certificates and the kubeconfig of each component."""
        authority = Authority.create(self.certificates)
        kubernetes = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
        names = (self.address, "127.0.0.1", API_SERVICE, *kubernetes)
        authority.issue("apiserver", "kube-apiserver", names=names)
        authority.issue("apiserver-client", "apiserver", group="system:masters")
        authority.issue("proxy-client", "front-proxy-client")
        node_user = f"system:node:{NAME}"
        authority.issue("kubelet", node_user, group="system:nodes", names=(self.address, NAME))
        metrics = ("metrics-server.kube-system.svc",)
        authority.issue("metrics-server", "metrics-server", names=metrics)
        users = {
            "admin": ("admin", "system:masters"),
            "controller-manager": ("system:kube-controller-manager", ""),
            "scheduler": ("system:kube-scheduler", ""),
            "node": (node_user, "system:nodes"),
            "proxy": ("system:kube-proxy", ""),
            "kube-router": ("kube-router", "system:masters"),
            "metrics": ("metrics-server", "system:masters"),
        }
        for file, (user, group) in users.items():
            authority.kubeconfig(file, self.api_server, user, group=group)

    def etcd(self) -> Command:
        """The command of etcd, without fsync: the data need not survive the node."""
        return (
            str(tool("etcd")),
            f"--data-dir={self.directory}/etcd",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def apiserver(self) -> Command:
        """The command of the API server."""
        files = self.certificates
        return (
            *self._kube("kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={self.address}",
            "--secure-port=6443",
            f"--tls-cert-file={files}/apiserver.crt",
            f"--tls-private-key-file={files}/apiserver.key",
            f"--client-ca-file={files}/ca.crt",
            f"--kubelet-client-certificate={files}/apiserver-client.crt",
            f"--kubelet-client-key={files}/apiserver-client.key",
            f"--kubelet-certificate-authority={files}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={files}/tokens.pub",
            f"--service-account-signing-key-file={files}/tokens.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--requestheader-client-ca-file={files}/ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={files}/proxy-client.crt",
            f"--proxy-client-key-file={files}/proxy-client.key",
            "--enable-aggregator-routing=true",
        )

    def controller_manager(self) -> Command:
        """The command of the controller manager."""
        files = self.certificates
        return (
            *self._kube("kube-controller-manager"),
            *self._kubeconfigs("controller-manager"),
            f"--service-account-private-key-file={files}/tokens.key",
            f"--root-ca-file={files}/ca.crt",
            f"--cluster-signing-cert-file={files}/ca.crt",
            f"--cluster-signing-key-file={files}/ca.key",
            "--use-service-account-credentials",
            "--allocate-node-cidrs",
            f"--cluster-cidr={PODS}",
            f"--service-cluster-ip-range={SERVICES}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            # A test does not wait a minute for the replicas of a deployment under load.
            "--horizontal-pod-autoscaler-downscale-stabilization=30s",
            "--horizontal-pod-autoscaler-sync-period=5s",
        )

    def scheduler(self) -> Command:
        """The command of the scheduler."""
        options = ("--leader-elect=false", "--bind-address=127.0.0.1")
        return (*self._kube("kube-scheduler"), *self._kubeconfigs("scheduler"), *options)

    def containerd(self) -> Command:
        """Write containerd's configuration and return its command."""
        path = self.directory / "containerd.toml"
        path.write_text(
            f"""\
version = 2
root = "{self.directory}/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "{self.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Root of a container or a virtual machine may lack CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.directory}/cni"
"""
        )
        # Each pod has its own link to the node: traffic between pods is routed, so that the
        # rules of network policies see it. Pods on one bridge would bypass them.
        addresses = {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": NODE_PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        link = {"type": "ptp", "ipMasq": True, "ipam": addresses}
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [link, ports]}
        (self.directory / "cni").mkdir(exist_ok=True)
        (self.directory / "cni" / "pods.conflist").write_text(json.dumps(network))
        return ("containerd", f"--config={path}")

    def kubelet(self) -> Command:
        """Write the kubelet's configuration and return its command."""
        files = self.certificates
        authentication = {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{files}/ca.crt"},
        }
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "containerRuntimeEndpoint": f"unix://{self.containerd_socket}",
            "authentication": authentication,
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{files}/kubelet.crt",
            "tlsPrivateKeyFile": f"{files}/kubelet.key",
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "failSwapOn": False,
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "2%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "podLogsDir": f"{self.directory}/log/pods",
            "volumePluginDir": f"{self.directory}/kubelet/plugins",
            "maxPods": 100,
        }
        path = self._write("kubelet.yaml", configuration)
        return (
            *self._kube("kubelet"),
            f"--config={path}",
            f"--kubeconfig={files}/node.conf",
            f"--root-dir={self.directory}/kubelet",
            f"--cert-dir={files}",
            f"--hostname-override={NAME}",
            f"--node-ip={self.address}",
        )

    def kube_proxy(self) -> Command:
        """Write kube-proxy's configuration and return its command."""
        # Zero keeps the machine's settings of connection tracking.
        timeouts = dict.fromkeys(("tcpEstablishedTimeout", "tcpCloseWaitTimeout"), "0s")
        configuration = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": PODS,
            "hostnameOverride": NAME,
            "clientConnection": {"kubeconfig": f"{self.certificates}/proxy.conf"},
            "conntrack": {"maxPerCore": 0, "min": 0, **timeouts},
        }
        path = self._write("kube-proxy.yaml", configuration)
        return (*self._kube("kube-proxy"), f"--config={path}")

    def kube_router(self) -> Command:
        """The command of kube-router, which enforces network policies and does nothing else."""
        return (
            str(tool("kube-router")),
            f"--kubeconfig={self.certificates}/kube-router.conf",
            f"--hostname-override={NAME}",
            f"--service-cluster-ip-range={SERVICES}",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--enable-cni=false",
            "--metrics-port=0",
            "--health-port=0",
        )

    def metrics_server(self) -> Command:
        """The command of the metrics server, which reads the CPU and memory of pods."""
        files = self.certificates
        kubeconfig = f"{files}/metrics.conf"
        return (
            str(tool("metrics-server")),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--secure-port={METRICS_PORT}",
            f"--tls-cert-file={files}/metrics-server.crt",
            f"--tls-private-key-file={files}/metrics-server.key",
            f"--kubelet-certificate-authority={files}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--kubelet-request-timeout=5s",
            "--metric-resolution=10s",
        )

    def _kube(self, program: str) -> Command:
        return (str(tool("kube")), program)

    def _kubeconfigs(self, user: str) -> Command:
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return tuple(f"--{name}={self.certificates}/{user}.conf" for name in names)

    def _write(self, name: str, configuration: Mapping[str, object]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        return path
