"""Writes `jars.lock`: the SHA-256 of each jar that the pom beside this file brings.

`make lock` runs it, with the machine's Python before anything is installed: standard library only.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

POM = Path(__file__).with_name("pom.xml")
LOCK = Path(__file__).with_name("jars.lock")
NAMESPACE = {"": "http://maven.apache.org/POM/4.0.0"}
HEADER = """\
# This file was written by `make lock` from pom.xml beside it; sha256sum -c reads it too.
# pom.xml {pom}
"""


def main() -> int:
    """Download each profile's jars, write the lock; returns the exit code."""
    if shutil.which("mvn") is None:
        print("the jars are locked by Maven and there is no mvn on PATH: install it")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        for profile, target in profiles(POM.read_bytes()):
            code = copy_jars(profile, Path(directory), Path(directory) / target)
            if code != 0:
                return code
        written = "".join(lines(Path(directory)))
    LOCK.write_text(HEADER.format(pom=sha256(POM)) + written, encoding="utf-8")
    return 0


def copy_jars(profile: str, directory: Path, target: Path) -> int:
    """Run Maven, which downloads all of it: what is cached may be damaged; returns its code."""
    command = ["mvn", "-B", "-q", "--strict-checksums", "-f", str(POM), "-P", profile]
    command += [f"-Dmaven.repo.local={directory / '.m2'}", f"-DoutputDirectory={target}"]
    command += ["-DincludeScope=runtime", "dependency:copy-dependencies"]
    return subprocess.run(command, check=False).returncode


def profiles(pom: bytes) -> Iterator[tuple[str, str]]:
    """Yield the id of each profile of a pom and the directory that it names."""
    for profile in ET.fromstring(pom).iterfind("profiles/profile", NAMESPACE):  # noqa: S314
        directory = profile.findtext("properties/directory", None, NAMESPACE)
        yield str(profile.findtext("id", None, NAMESPACE)), str(directory)


def lines(directory: Path) -> Iterator[str]:
    """Yield a line of sha256sum's format for each jar below `directory`, in order."""
    jars = (jar for jar in directory.rglob("*.jar") if ".m2" not in jar.parts)
    for jar in sorted(jars, key=lambda jar: jar.relative_to(directory).as_posix()):
        yield f"{sha256(jar)}  {jar.relative_to(directory).as_posix()}\n"


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
