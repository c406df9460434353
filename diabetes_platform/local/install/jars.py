"""The servers' jars: copied by Maven as the pom says, held to the SHA-256 of each in `jars.lock`.

A directory of jars is made aside, verified, stamped, and then put in its place as a whole.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install import stamp
from diabetes_platform.local.install.report import Reporter
from diabetes_platform.local.install.running import run
from diabetes_platform.local.install.stamp import Stamp
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

POM = PROJECT_ROOT / "infra" / "local" / "jars" / "pom.xml"
LOCK = POM.with_name("jars.lock")
PLUGIN_GOAL = "dependency:copy-dependencies"
_POM_LINE = "# pom.xml "
_DOWNLOADING = "Downloading from "


@dataclass(frozen=True, slots=True)
class JarSet:
    """The jars of one directory, which the pom's profile of its last name brings."""

    directory: str
    checksums: Mapping[str, str]
    """SHA-256 by file name."""

    @property
    def profile(self) -> str:
        """The pom's profile."""
        return Path(self.directory).name

    @property
    def digest(self) -> str:
        """What the stamp is held to."""
        return stamp.digest_of(*(f"{name} {sum_}" for name, sum_ in sorted(self.checksums.items())))


@dataclass(frozen=True, slots=True)
class Maven:
    """The machine's Maven, the Java that it runs on, and the caller's environment."""

    program: Path
    java: Path
    environment: Mapping[str, str]


def read_lock(lock: Path = LOCK, pom: Path = POM) -> dict[str, JarSet]:
    """Return the locked sets by their directory; PlatformError where the pom is another one."""
    text = lock.read_text(encoding="utf-8")
    if f"{_POM_LINE}{stamp.sha256(pom)}" not in text.splitlines():
        raise PlatformError(f"{pom} has changed since {lock.name} was made: run `make lock`")
    return parse_lock(text)


def parse_lock(text: str) -> dict[str, JarSet]:
    """Return the sets of a lock in sha256sum's format: `<SHA-256>  <directory>/<jar>` a line."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            checksum, path = line.split("  ")
            directory, _, name = path.rpartition("/")
            found.setdefault(directory, {})[name] = checksum
    return {directory: JarSet(directory, checksums) for directory, checksums in found.items()}


def is_current(tools: Tools, jars: JarSet) -> bool:
    """Whether the directory holds exactly the locked jars; those that changed are read again."""
    directory = tools.jars(jars.directory)
    made = stamp.read_stamp(directory / stamp.NAME)
    if made is None or made.digest != jars.digest:
        return False
    changed = made.changed(directory.glob("*.jar"))
    if any(_fault(directory / name, jars) for name in changed):
        return False
    if changed:
        Stamp.of(jars.digest, directory.glob("*.jar")).write(directory / stamp.NAME)
    return True


def faults(directory: Path, jars: JarSet) -> dict[str, str]:
    """Return what is wrong with a directory by the name of the jar, after reading all of it."""
    names = jars.checksums.keys() | {jar.name for jar in directory.glob("*.jar")}
    found = {name: _fault(directory / name, jars) for name in sorted(names)}
    return {name: fault for name, fault in found.items() if fault is not None}


def all_faults(tools: Tools) -> list[str]:
    """Return what is wrong with any jar of any server, each as one line; reads all of them."""
    return [
        f"{tools.jars(jars.directory)}: {fault}"
        for jars in read_lock().values()
        for fault in faults(tools.jars(jars.directory), jars).values()
    ]


async def install(tools: Tools, jars: JarSet, maven: Maven, reporter: Reporter) -> None:
    """Put the directory in place; a download that was damaged is tried once more.

    Raises PlatformError that names the jar which is not what the lock says.
    """
    target = tools.jars(jars.directory)
    made = stamp.read_stamp(target / stamp.NAME)
    if made is not None and made.digest == jars.digest:
        for fault in faults(target, jars).values():
            reporter.note(f"{fault}: replaced")
    aside = tools.jars(f".{jars.profile}.new")
    repository = tools.cache("maven")
    await _copy(tools, jars, maven, aside, reporter)
    if wrong := faults(aside, jars):
        reporter.note(f"{next(iter(wrong.values()))}: downloading again")
        _forget(repository, wrong)
        await _copy(tools, jars, maven, aside, reporter)
    if wrong := faults(aside, jars):
        _forget(repository, wrong)
        raise PlatformError(f"{jars.profile}: {next(iter(wrong.values()))}")
    Stamp.of(jars.digest, aside.glob("*.jar")).write(aside / stamp.NAME)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside.rename(target)


async def _copy(tools: Tools, jars: JarSet, maven: Maven, aside: Path, reporter: Reporter) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    # A checksum that does not fit what was downloaded fails the build instead of warning.
    command = [str(maven.program), "-B", "--strict-checksums", "-f", str(POM), "-P", jars.profile]
    command += [f"-Dmaven.repo.local={tools.cache('maven')}", f"-DoutputDirectory={aside}"]
    await run(
        [*command, "-DincludeScope=runtime", PLUGIN_GOAL],
        part=jars.profile,
        log=tools.log(jars.profile),
        environment={**maven.environment, "JAVA_HOME": str(maven.java.parents[1])},
        on_line=partial(_tell, reporter),
    )


def _tell(reporter: Reporter, line: str) -> None:
    if _DOWNLOADING in line:
        reporter.doing(f"downloading {line.rpartition('/')[2]}")


def _fault(jar: Path, jars: JarSet) -> str | None:
    expected = jars.checksums.get(jar.name)
    if expected is None:
        return f"{jar.name} is not in {LOCK.name}"
    if not jar.exists():
        return f"{jar.name} is missing"
    if stamp.sha256(jar) != expected:
        return f"{jar.name} does not have the SHA-256 in {LOCK.name}"
    return None


def _forget(repository: Path, names: Iterable[str]) -> None:
    """Remove jars from Maven's cache, which does not check what it has."""
    for name in names:
        for jar in repository.rglob(name):
            jar.unlink()
