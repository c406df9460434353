"""Nodes: isolation from the machine, and an end that leaves nothing."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.clusters.node import CGROUPS, Node, create_cgroups, run, start_node
from diabetes_platform_tests.clusters.requirements import require

pytestmark = pytest.mark.compose
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = start_node(tmp_path, sysctls={"vm.overcommit_memory": "1"}, ends_with_caller=True)
    yield node
    node.end()


def namespaces(process: int) -> set[str]:
    return {str(Path(f"/proc/{process}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}


def remains(node: Node, own: set[str]) -> list[str]:
    """Return what is left of a node: processes in its namespaces, mounts, the link, cgroups."""
    left = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if not own.isdisjoint(namespaces(int(directory.name))):
                left.append(f"process {directory.name}")
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    left += [mount for mount in mounts if str(node.directory) in mount]
    left += [link for link in run(["ip", "-brief", "link"]).splitlines() if node.link in link]
    return left + [str(path) for path in CGROUPS.glob(f"*/{node.cgroup}")]


def start_work(node: Node) -> None:
    """Start what outlives a careless end: a daemon, a mount, a packet rule, a cgroup."""
    node.run("sh", "-c", "setsid sleep 1000 > /dev/null 2>&1 &")
    node.run("mount", "-t", "tmpfs", "tmpfs", str(node.directory))
    node.run("iptables", "-A", "FORWARD", "-j", "DROP")
    create_cgroups(node.cgroup)


def test_end_leaves_nothing(node: Node) -> None:
    rules = run(["iptables-save"])
    own = namespaces(node.init)
    start_work(node)
    assert any("process" in line for line in remains(node, own))
    node.end()
    assert remains(node, own) == []
    assert run(["iptables-save"]) == rules


def test_ends_with_its_first_process(node: Node) -> None:
    own = namespaces(node.init)
    start_work(node)
    os.kill(node.init, signal.SIGKILL)
    wait_until(
        lambda: not [line for line in remains(node, own) if "cgroup" not in line], timeout=10
    )


def test_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from diabetes_platform_tests.clusters.node import start_node\n"
        "node = start_node(Path(sys.argv[1]), internet=True, ends_with_caller=True)\n"
        "print(node.init, flush=True); time.sleep(600)"
    )
    caller = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(caller, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        init = int(process.stdout.readline())
        own = namespaces(init)
        process.kill()
    node = Node(tmp_path, 0, init, "", "")
    wait_until(lambda: not [line for line in remains(node, own) if "process" in line], timeout=10)


def test_hides_the_machine(node: Node) -> None:
    machine = OVERCOMMIT.read_text(encoding="ascii")
    assert node.run("cat", str(OVERCOMMIT)) == "1\n"
    node.run("sh", "-c", f"echo 2 > {OVERCOMMIT}")
    assert OVERCOMMIT.read_text(encoding="ascii") == machine
    node.run("touch", "/var/lib/a-file", "/run/a-file")
    assert not Path("/var/lib/a-file").exists()
    assert "LISTEN" not in node.run("ss", "--tcp", "--listening", "--no-header")


def test_two_nodes_have_networks_of_their_own(node: Node, tmp_path: Path) -> None:
    other = start_node(tmp_path / "other", internet=True, ends_with_caller=True)
    try:
        assert other.address != node.address
        for address in (node.address, other.address):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, 1), timeout=5)
        assert "default via" in other.run("ip", "route")
        assert "default via" not in node.run("ip", "route")
        with pytest.raises(PlatformError, match="a node runs already"):
            start_node(tmp_path / "other")
    finally:
        other.end()


def test_says_that_it_needs_root() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(PlatformError, match="need root: run it as root, or with sudo"):
            require({})
    finally:
        os.seteuid(0)


def test_says_which_packages_are_missing() -> None:
    with pytest.raises(PlatformError, match=r"apt-get install --no-install-recommends a-package$"):
        require({"sh": "dash", "a-program-that-is-missing": "a-package"})
