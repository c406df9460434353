"""The Docker engine: builds, published ports, kept images, several at a time."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from diabetes_platform.polling import wait_until
from diabetes_platform_tests.clusters.engine import BASE_IMAGE, Engine, own_engine, running_engine

pytestmark = pytest.mark.compose
SERVER = """\
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
while (my $client = $server->accept) {
    while (<$client>) { last if /^\\r/ }
    print $client "HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"; close $client;
}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with own_engine(tmp_path) as engine:
        yield engine


def test_builds_an_image_and_publishes_its_port(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/server.pl").write_text(SERVER)
    dockerfile = f'FROM {BASE_IMAGE}\nCOPY server.pl /\nCMD ["perl", "/server.pl"]\n'
    (tmp_path / "context/Dockerfile").write_text(dockerfile)
    engine.docker("build", "--tag=server:test", str(tmp_path / "context"))
    options = ("--read-only", "--user=10001", "--publish=8080:8000", "--memory=64m")
    engine.docker("run", "--detach", *options, "server:test")
    response = wait_until(
        lambda: httpx.get(f"http://{engine.node.address}:8080"),
        timeout=30,
        retry_on=(httpx.HTTPError,),
    )
    assert response.text == "hello"


def test_builds_reach_the_packages_of_debian(engine: Engine) -> None:
    run = ("run", "--rm", BASE_IMAGE, "apt-get", "update")
    assert "Reading package lists" in engine.docker(*run)


def test_down_keeps_images_and_volumes_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    write = ("bash", "-c", "echo kept > /data/file")
    engine.docker("run", "--volume=data:/data", BASE_IMAGE, *write)
    engine.docker("run", "--detach", BASE_IMAGE, "sleep", "1000")
    engine.down()
    assert running_engine(tmp_path) is None
    with own_engine(tmp_path) as later:
        read = ("run", "--volume=data:/data", BASE_IMAGE, "cat", "/data/file")
        assert later.docker(*read) == "kept\n"
        assert later.docker("ps", "--quiet") == ""


def test_two_engines_publish_the_same_port(engine: Engine, tmp_path: Path) -> None:
    sleep = ("run", "--detach", "--publish=8080:8000", BASE_IMAGE, "sleep", "1000")
    engine.docker(*sleep)
    with own_engine(tmp_path / "other") as other:
        other.docker(*sleep)
        assert other.node.address != engine.node.address


def test_compose_and_buildx_are_installed(engine: Engine) -> None:
    assert "v2.40.3" in engine.docker("compose", "version")
    assert "v0.29.1" in engine.docker("buildx", "version")
