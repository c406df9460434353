"""The servers' jars, which Maven downloads and `jars.lock` pins by SHA-256.

A directory of jars is downloaded to a temporary directory, verified, stamped, and then moved into
place as a whole.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.progress import StepProgress, step_progress
from diabetes_platform.local.install.stamps import STAMP_FILE, Stamp, digest_of, read_stamp, sha256
from diabetes_platform.local.install.subprocesses import run
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.settings import PROJECT_ROOT

POM = PROJECT_ROOT / "infra" / "local" / "jars" / "pom.xml"
LOCK = POM.with_name("jars.lock")
PLUGIN_GOAL = "dependency:copy-dependencies"
_POM_LINE = "# pom.xml "
_DOWNLOADING = "Downloading from "


@dataclass(frozen=True, slots=True)
class JarSet:
    """The jars of one directory; `checksums` has the SHA-256 by file name."""

    directory: str
    checksums: Mapping[str, str]

    @property
    def profile(self) -> str:
        """The profile of the pom that downloads these jars."""
        return Path(self.directory).name

    @property
    def digest(self) -> str:
        """The digest for the stamp: names and checksums."""
        return digest_of(*(f"{name} {sum_}" for name, sum_ in sorted(self.checksums.items())))


def read_lock(lock: Path = LOCK, pom: Path = POM) -> dict[str, JarSet]:
    """Return the locked jar sets by directory.

    Raises PlatformError if the pom has changed since the lock was written.
    """
    text = lock.read_text(encoding="utf-8")
    if f"{_POM_LINE}{sha256(pom)}" not in text.splitlines():
        raise PlatformError(f"{pom} has changed since {lock.name} was written: run `make lock`")
    return parse_lock(text)


def parse_lock(text: str) -> dict[str, JarSet]:
    """Return the jar sets of a lock in sha256sum's format: `<SHA-256>  <directory>/<jar>`."""
    checksums: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            checksum, path = line.split("  ")
            directory, _, name = path.rpartition("/")
            checksums.setdefault(directory, {})[name] = checksum
    return {directory: JarSet(directory, sums) for directory, sums in checksums.items()}


def is_current(tools: Tools, jars: JarSet) -> bool:
    """Whether the directory holds exactly the locked jars; reads only files that changed."""
    directory = tools.jars(jars.directory)
    stamp = read_stamp(directory / STAMP_FILE)
    if stamp is None or stamp.digest != jars.digest:
        return False
    changed = stamp.changed(directory.glob("*.jar"))
    if any(_fault(directory / name, jars) for name in changed):
        return False
    if changed:
        Stamp.of(jars.digest, directory.glob("*.jar")).write(directory / STAMP_FILE)
    return True


def faults(directory: Path, jars: JarSet) -> dict[str, str]:
    """Return the differences from the lock by jar name; reads every jar of the directory."""
    names = jars.checksums.keys() | {jar.name for jar in directory.glob("*.jar")}
    checked = {name: _fault(directory / name, jars) for name in sorted(names)}
    return {name: fault for name, fault in checked.items() if fault is not None}


def all_faults(tools: Tools) -> list[str]:
    """Return the differences of all servers' jars from the lock, one line per jar."""
    return [
        f"{tools.jars(jars.directory)}: {fault}"
        for jars in read_lock().values()
        for fault in faults(tools.jars(jars.directory), jars).values()
    ]


async def install(installer: Installer, jars: JarSet) -> None:
    """Install the directory; a damaged download is repeated once.

    Raises PlatformError that names the jar which differs from the lock.
    """
    tools = installer.tools
    target, downloaded = tools.jars(jars.directory), tools.jars(f".{jars.profile}.new")
    stamp = read_stamp(target / STAMP_FILE)
    with step_progress(f"jars/{jars.directory}", installer.on_event) as progress:
        if stamp is not None and stamp.digest == jars.digest:
            for fault in faults(target, jars).values():
                progress.warn(f"{fault}: replaced")
        await _download(installer, jars, downloaded, progress)
        if wrong := faults(downloaded, jars):
            progress.warn(f"{next(iter(wrong.values()))}: downloading again")
            _remove_from_cache(tools, wrong)
            await _download(installer, jars, downloaded, progress)
        if wrong := faults(downloaded, jars):
            _remove_from_cache(tools, wrong)
            raise PlatformError(f"{jars.profile}: {next(iter(wrong.values()))}")
        Stamp.of(jars.digest, downloaded.glob("*.jar")).write(downloaded / STAMP_FILE)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        downloaded.rename(target)


async def _download(
    installer: Installer, jars: JarSet, directory: Path, progress: StepProgress
) -> None:
    def show(line: str) -> None:
        if _DOWNLOADING in line:
            progress.running(f"downloading {line.rpartition('/')[2]}")

    tools = installer.tools
    shutil.rmtree(directory, ignore_errors=True)
    # A checksum that does not fit what was downloaded fails the build instead of warning.
    command = [str(installer.maven), "-B", "--strict-checksums", "-f", str(POM)]
    command += ["-P", jars.profile, f"-DoutputDirectory={directory}", "-DincludeScope=runtime"]
    await run(
        [*command, f"-Dmaven.repo.local={tools.cache('maven')}", PLUGIN_GOAL],
        step=jars.profile,
        log=tools.log(jars.profile),
        environment={**installer.environment, "JAVA_HOME": str(installer.java.parents[1])},
        on_line=show,
    )


def _fault(jar: Path, jars: JarSet) -> str | None:
    expected = jars.checksums.get(jar.name)
    if expected is None:
        return f"{jar.name} is not in {LOCK.name}"
    if not jar.exists():
        return f"{jar.name} is missing"
    if sha256(jar) != expected:
        return f"{jar.name} does not have the SHA-256 in {LOCK.name}"
    return None


def _remove_from_cache(tools: Tools, names: Iterable[str]) -> None:
    """Remove jars from Maven's local repository, which Maven does not verify again."""
    for name in names:
        for jar in tools.cache("maven").rglob(name):
            jar.unlink()
