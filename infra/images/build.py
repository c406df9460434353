"""Builds the images of the platform, checks what is in them, and writes their bills of material.

`python infra/images/build.py [NAME…]` builds with the `docker` of DOCKER (default: on PATH) and its
variables. For each image, `.platform/images/` receives the hash of each file (`<name>.sha256`) and
a CycloneDX document (`<name>.cdx.json`). `--reproduce` builds again without any cache, and reports
the files that differ. After a build of all images, `infra/compose/.env` receives their version, so
that compose uses them.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import HeaderParser
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import quote

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

CHECKOUT = Path(__file__).resolve().parents[2]
OUTPUT = Path(os.environ.get("PLATFORM_HOME") or CHECKOUT / ".platform") / "images"
COMPOSE_VARIABLES = CHECKOUT / "infra" / "compose" / ".env"
DOCKERFILE = CHECKOUT / "infra" / "images" / "Dockerfile"
NAMESPACE = "diabetes-platform"
CERTIFICATES = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
"""Certificates for the downloads of a build, such as those of a proxy; no image contains them."""
MEGABYTE = 10**6
_DPKG = "var/lib/dpkg/status"
_OF_THE_ENGINE = ("dev/*", ".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab")
_FORBIDDEN = (
    *(f"*bin/{tool}" for tool in ("pip*", "uv", "gcc*", "g++*", "cc", "make", "mvn", "go", "git")),
    *(f"*/site-packages/{package}" for package in ("pip/*", "hatchling/*", "editables/*")),
    *("*.env", "*/secrets.json", "*/.git/*", "run/secrets/*", "root/.cache/*", "uv-cache/*"),
)


@dataclass(frozen=True)
class Image:
    """An image: what it contains, and its largest size in MB, as `docker images` shows it."""

    description: str
    budget: int


IMAGES: Mapping[str, Image] = {
    "platform": Image("Dagster webserver, daemon, code server, runs and set-ups", 980),
    "serving": Image("prediction API and predictor", 350),
    "flink": Image("Flink servers and the stream's job", 1200),
    "connect": Image("Kafka Connect with Debezium", 450),
    "spark": Image("Spark Connect server and executors", 950),
    "kafka": Image("Kafka broker", 450),
    "minio": Image("S3 storage", 250),
    "postgres": Image("PostgreSQL with logical decoding", 270),
}


class BuildError(RuntimeError):
    """An image cannot be built, or must not be published; the message says why."""


@dataclass
class Contents:
    """The files of an image with their SHA-256, and the packages that they belong to."""

    files: dict[str, str] = field(default_factory=dict)
    packages: list[Component] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Build the images; returns the exit code."""
    parser = argparse.ArgumentParser(prog="build.py")
    parser.add_argument("images", nargs="*", metavar="NAME", help=", ".join(IMAGES))
    parser.add_argument("--reproduce", action="store_true", help="build twice and compare")
    options = parser.parse_args(arguments)
    names = options.images or list(IMAGES)
    if unknown := set(names) - set(IMAGES):
        parser.error(f"no image {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}")
    version = current_version()
    problems = []
    for name in names:
        try:
            build_and_check(name, version, reproduce=options.reproduce)
        except BuildError as error:
            problems.append(error)
            print(f"images: {error}", file=sys.stderr)
    if not problems and set(names) == set(IMAGES):
        variables = f"PLATFORM_VERSION={version}\nCOMPOSE_PROFILES=all\n"
        COMPOSE_VARIABLES.write_text(variables, encoding="utf-8")
    return 1 if problems else 0


def build_and_check(name: str, version: str, *, reproduce: bool) -> None:
    """Build an image, check and describe it; raises BuildError."""
    started = time.monotonic()
    tag = f"{NAMESPACE}/{name}:{version}"
    build(name, tag, version)
    seconds = time.monotonic() - started
    size = int(_docker("image", "inspect", "--format={{.Size}}", tag)) / MEGABYTE
    contents = read_contents(tag)
    check(name, size, contents)
    write_results(name, version, contents)
    packages = len(contents.packages)
    print(f"{tag}  {size:.0f} of {IMAGES[name].budget} MB  {packages} packages  {seconds:.0f} s")
    if reproduce:
        second = f"{tag}-again"
        build(name, second, version, "--no-cache")
        differences = changed_files(contents.files, read_contents(second).files)
        _docker("image", "rm", second)
        if differences:
            raise BuildError(f"{name}: {len(differences)} files differ: {differences[:10]}")
        print(f"{tag}  {len(contents.files)} files are the same in a second build")


def current_version() -> str:
    """Return the version of the images: the commit, with `-dirty` if the checkout differs."""
    commit = _run(["git", "rev-parse", "--short=12", "HEAD"]).strip()
    changed = _run(["git", "status", "--porcelain"])
    return f"{commit}-dirty" if changed else commit


def build(name: str, tag: str, version: str, *options: str) -> None:
    """Build a target of the Dockerfile; raises BuildError after docker has shown its output."""
    labels = {
        "title": f"{NAMESPACE}-{name}",
        "description": IMAGES[name].description,
        "version": version,
        "revision": _run(["git", "rev-parse", "HEAD"]).strip(),
        "created": _run(["git", "log", "-1", "--format=%cI"]).strip(),
        "licenses": "Apache-2.0",
        "base.name": "docker.io/library/debian:bookworm-slim",
    }
    command = ["build", "--progress=plain", f"--file={DOCKERFILE}", f"--target={name}", "-t", tag]
    command += [f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()]
    if CERTIFICATES.exists():
        command += ["--secret", f"id=ca,src={CERTIFICATES}"]
    log = OUTPUT / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        docker = [_program(), *command, *options, str(CHECKOUT)]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        result = subprocess.run(docker, env=environment, stdout=output, stderr=output, check=False)
    if result.returncode != 0:
        lines = log.read_text(encoding="utf-8").strip().splitlines()
        raise BuildError(f"{name} cannot be built: {lines[-1]} (log: {log})")


def read_contents(tag: str) -> Contents:
    """Return the files and the packages of an image."""
    container = _docker("create", tag).strip()
    try:
        export = subprocess.Popen([_program(), "export", container], stdout=subprocess.PIPE)
        contents = Contents()
        with export, tarfile.open(fileobj=export.stdout, mode="r|") as archive:
            for member in archive:
                if any(fnmatch(member.name, pattern) for pattern in _OF_THE_ENGINE):
                    continue
                if member.issym():
                    contents.files[member.name] = f"-> {member.linkname}"
                elif member.islnk():
                    contents.files[member.name] = contents.files[member.linkname]
                elif member.isfile() and (file := archive.extractfile(member)) is not None:
                    _add(contents, member.name, cast("io.BufferedReader", file))
        return contents
    finally:
        _docker("rm", container)


def _add(contents: Contents, name: str, file: io.BufferedReader) -> None:
    path = PurePosixPath(name)
    if name == _DPKG or (path.name == "METADATA" and path.parent.suffix == ".dist-info"):
        content = file.read()
        contents.files[name] = hashlib.sha256(content).hexdigest()
        read = debian_packages if name == _DPKG else python_package
        contents.packages += read(content.decode())
        return
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    contents.files[name] = digest
    if path.suffix == ".jar" or name == "opt/platform/bin/minio":
        contents.packages.append(file_component(name, digest))


def file_component(name: str, digest: str) -> Component:
    """Return the component of a file that no package manager has installed."""
    path = PurePosixPath(name)
    return Component(
        name=path.name,
        purl=PackageURL("generic", name=path.stem, qualifiers={"checksum": f"sha256:{digest}"}),
        type=ComponentType.LIBRARY,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        bom_ref=name,
        properties=[Property(name="path", value=f"/{name}")],
    )


def debian_packages(status: str) -> Iterator[Component]:
    """Yield the packages in the text of dpkg's status file."""
    for paragraph in status.strip().split("\n\n"):
        package = HeaderParser().parsestr(paragraph)
        qualifiers = {"arch": package["Architecture"], "distro": "bookworm"}
        purl = PackageURL("deb", "debian", package["Package"], package["Version"], qualifiers)
        yield _package(package["Package"], package["Version"], purl)


def python_package(metadata: str) -> Iterator[Component]:
    """Yield the package of a METADATA file."""
    package = HeaderParser().parsestr(metadata)
    name, version = package["Name"], package["Version"]
    yield _package(name, version, PackageURL("pypi", name=name.lower(), version=version))


def _package(name: str, version: str, purl: PackageURL) -> Component:
    reference = f"{purl.type}/{quote(name)}@{quote(version)}"
    kind = ComponentType.LIBRARY
    return Component(name=name, version=version, purl=purl, type=kind, bom_ref=reference)


def check(name: str, size: float, contents: Contents) -> None:
    """Raise BuildError if the image is too large, or contains what no image may contain."""
    if size > IMAGES[name].budget:
        raise BuildError(f"{name} has {size:.0f} MB; allowed: {IMAGES[name].budget} MB")
    forbidden = [
        file for file in contents.files if any(fnmatch(file, pattern) for pattern in _FORBIDDEN)
    ]
    if forbidden:
        raise BuildError(f"{name} contains {', '.join(forbidden[:5])}")
    if CERTIFICATES.exists():
        secret = hashlib.sha256(CERTIFICATES.read_bytes()).hexdigest()
        if secret in contents.files.values():
            raise BuildError(f"{name} contains the certificates of the build")


def write_results(name: str, version: str, contents: Contents) -> None:
    """Write the hashes of the files and the bill of material."""
    lines = [f"{digest}  {file}\n" for file, digest in sorted(contents.files.items())]
    (OUTPUT / f"{name}.sha256").write_text("".join(lines), encoding="utf-8")
    image = Component(name=f"{NAMESPACE}/{name}", version=version, type=ComponentType.CONTAINER)
    bom = Bom(components=contents.packages)
    bom.metadata.component = image
    bom.register_dependency(image, contents.packages)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    (OUTPUT / f"{name}.cdx.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def changed_files(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return the names of the files that only one image has, or that differ."""
    return sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )


def _docker(*arguments: str) -> str:
    return _run([_program(), *arguments])


def _program() -> str:
    return os.environ.get("DOCKER") or "docker"


def _run(command: Sequence[str]) -> str:
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise BuildError(f"`{' '.join(command[:3])} …` failed: {lines[-1]}")
    return result.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
