"""A node: processes in a network, mount and process namespace of their own.

The node ends with its first process, however that ends: the kernel then kills every other process
and removes the mounts, the interfaces and the packet rules of the namespaces.
"""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.processes import dying_with_parent, spawn
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.clusters.requirements import require

NETWORKS = 64
"""A node takes one of the networks 10.89.0.0/30, 10.89.1.0/30, …"""
CGROUPS = Path("/sys/fs/cgroup")
STATE = "node.json"
END_SECONDS = 120.0
"""The kernel frees the memory and the mounts of a hundred containers."""
NAMESERVER = "10.0.2.3"
"""The address at which slirp4netns answers DNS queries with the machine's own resolver."""
INIT = Path(__file__).with_name("init.sh")
PACKAGES = {
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nsenter": "util-linux",
    "slirp4netns": "slirp4netns",
    "tini": "tini",
    "unshare": "util-linux",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A running node; `init` is its first process, `start_time` tells it from a later one.

    `children` are those that this process has started.
    """

    directory: Path
    network: int
    init: int
    start_time: str
    cgroup: str
    children: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def link(self) -> str:
        """The machine's interface in the node's network."""
        return link_name(self.network)

    @property
    def gateway(self) -> str:
        """The machine's address in the node's network."""
        return f"10.89.{self.network}.1"

    @property
    def address(self) -> str:
        """The node's address, which only this machine reaches."""
        return f"10.89.{self.network}.2"

    @property
    def is_running(self) -> bool:
        """Whether the first process is still the one that was started."""
        return _start_time(self.init) == self.start_time

    def log(self, name: str) -> Path:
        """Return the log of a process of the node."""
        return self.directory / "log" / f"{name}.log"

    def command(self, *command: str) -> list[str]:
        """Return the command that runs `command` inside the node."""
        # `ip netns exec` would mount a new /sys, which hides the cgroups.
        namespaces = ("--net", "--mount", "--pid")
        return ["nsenter", f"--target={self.init}", *namespaces, "--", *command]

    def run(self, *command: str) -> str:
        """Run `command` inside the node and return its output; PlatformError if it fails."""
        return run(self.command(*command))

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a process of the node; it ends with the node."""
        log = self.log(name)
        self.children.append(spawn(self.command(*command), log=log, environment=environment))

    def end(self) -> None:
        """Kill the first process, and so the node; remove its cgroups and its state file."""
        if self.is_running:
            os.kill(self.init, signal.SIGKILL)
        for child in self.children:
            child.wait(timeout=END_SECONDS)
        wait_until(lambda: not self.is_running, timeout=END_SECONDS)
        wait_until(lambda: _remove_cgroups(self.cgroup), timeout=END_SECONDS)
        (self.directory / STATE).unlink(missing_ok=True)


def start_node(
    directory: Path,
    *,
    sysctls: Mapping[str, str] | None = None,
    internet: bool = False,
    ends_with_caller: bool = False,
) -> Node:
    """Start a node with its files in `directory`; PlatformError if it cannot be started.

    Its processes read the values of `sysctls` and may write others; the machine's stay as they
    are. `internet` gives the node a way out through the machine's own connections.
    """
    require(PACKAGES)
    node = running_node(directory)
    if node is not None:
        raise PlatformError(f"a node runs already in {directory} (process {node.init})")
    cgroup = f"diabetes-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"
    _remove_cgroups(cgroup)  # A killed node leaves empty ones.
    for name in ("log", "shadow"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "shadow/resolv.conf").write_text(f"nameserver {NAMESERVER}\n" if internet else "")
    for name, value in (sysctls or {}).items():
        (directory / "shadow" / name).write_text(f"{value}\n")
    unshare = _start_init(directory, list(sysctls or ()), ends_with_caller=ends_with_caller)
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    init = int(children.read_text(encoding="ascii"))
    with ExitStack() as failure:
        failure.callback(os.kill, init, signal.SIGKILL)
        node = Node(directory, _connect(init), init, _start_time(init), cgroup, [unshare])
        if internet:
            _connect_to_internet(node)
        names = ("network", "init", "start_time", "cgroup")
        state = {name: getattr(node, name) for name in names}
        (directory / STATE).write_text(json.dumps(state), encoding="ascii")
        failure.pop_all()
    return node


def running_node(directory: Path) -> Node | None:
    """Return the node that runs in `directory`, or None."""
    file = directory / STATE
    if not file.exists():
        return None
    node = Node(directory, **json.loads(file.read_text(encoding="ascii")))
    return node if node.is_running else None


def link_name(network: int) -> str:
    """Return the name of the machine's interface in a node's network."""
    return f"diabetes-{network}"


def create_cgroups(name: str) -> None:
    """Create a control group in each hierarchy."""
    for hierarchy in {controller.resolve() for controller in CGROUPS.iterdir()}:
        if (hierarchy / "cgroup.procs").exists():
            (hierarchy / name).mkdir(exist_ok=True)


def run(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, text: str = ""
) -> str:
    """Run `command` with `text` as input and return its output.

    Raises PlatformError with its last line of errors if it fails.
    """
    result = subprocess.run(
        command, env=environment, input=text, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise PlatformError(f"`{' '.join(command[:6])} …` failed: {lines[-1]}")
    return result.stdout


def _start_init(
    directory: Path, sysctls: Sequence[str], *, ends_with_caller: bool
) -> subprocess.Popen[bytes]:
    """Start the first process in new namespaces; it is the only child of the returned one."""
    prefix = dying_with_parent(signal.SIGKILL) if ends_with_caller else ()
    namespaces = ("--net", "--mount", "--propagation=private", "--pid", "--mount-proc")
    unshare = ["unshare", *namespaces, "--fork", "--kill-child", "--"]
    process = subprocess.Popen(
        [*prefix, *unshare, "sh", str(INIT), str(directory), *sysctls],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    output = cast("IO[bytes]", process.stdout)
    with output:
        line = output.readline().decode()
    if line != "ready\n":
        process.kill()
        process.wait()
        raise PlatformError(f"a node cannot be prepared: {line.strip() or 'no output'}")
    return process


def _connect(init: int) -> int:
    """Connect the machine and the node by a free network; returns its number."""
    addresses = run(["ip", "-o", "-4", "address"])
    for network in range(NETWORKS):
        link = link_name(network)
        if f" 10.89.{network}.1/" in addresses:
            continue
        pair = ["type", "veth", "peer", "name", "eth0", "netns", str(init)]
        try:
            run(["ip", "link", "add", link, *pair])
        except PlatformError:
            continue  # Another node took the name at the same time.
        run(["ip", "address", "add", f"10.89.{network}.1/30", "dev", link])
        run(["ip", "link", "set", link, "up"])
        inside = ["nsenter", f"--target={init}", "--net", "--", "ip"]
        run([*inside, "address", "add", f"10.89.{network}.2/30", "dev", "eth0"])
        run([*inside, "link", "set", "eth0", "up"])
        return network
    raise PlatformError(f"all {NETWORKS} networks 10.89.0.0/30, 10.89.1.0/30, … are in use")


def _connect_to_internet(node: Node) -> None:
    # It belongs to the node's processes and to the machine's network: no forwarding, no rule.
    slirp = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"]
    inside = ["nsenter", f"--target={node.init}", "--pid", "--"]
    command = [*inside, *slirp, str(node.init), "tap0"]
    node.children.append(spawn(command, log=node.log("slirp4netns")))
    wait_until(lambda: "tap0" in node.run("ip", "route"), timeout=10)


def _start_time(process: int) -> str:
    """Return the time at which a process started, in clock ticks, or "" if it has ended."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, *fields = status.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _remove_cgroups(name: str) -> bool:
    """Remove the empty control groups that the kernel keeps; returns whether all are gone."""
    for pattern in (name, f"*/{name}"):
        for group in CGROUPS.glob(pattern):
            for directory, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):
                    Path(directory).rmdir()
    return not any(any(CGROUPS.glob(pattern)) for pattern in (name, f"*/{name}"))
