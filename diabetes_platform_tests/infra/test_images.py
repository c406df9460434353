"""The build command of the images: checks, bills of material, reproducible files."""

import hashlib
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from diabetes_platform.settings import PROJECT_ROOT

SCRIPTS = PROJECT_ROOT / "infra" / "images"
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b8
"""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


build, trust = load("build"), load("trust")


@pytest.mark.parametrize(
    "file",
    [
        "usr/bin/pip3",
        "opt/platform/venvs/platform/bin/uv",
        "usr/bin/gcc-12",
        "opt/platform/venvs/platform/lib/python3.11/site-packages/pip/__init__.py",
        "run/secrets/kafka.env",
        "app/.git/config",
    ],
)
def test_rejects_an_image_with_build_tools_or_secrets(file: str) -> None:
    contents = build.Contents(files={"usr/bin/python3": "aa", file: "bb"})
    with pytest.raises(build.BuildError, match=f"serving contains {file}"):
        build.check("serving", 1.0, contents)


def test_rejects_an_image_above_its_budget() -> None:
    with pytest.raises(build.BuildError, match="serving has 351 MB; allowed: 350 MB"):
        build.check("serving", 351.0, build.Contents())


def test_rejects_an_image_with_the_certificates_of_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = tmp_path / "ca.crt"
    certificates.write_bytes(b"the proxy's")
    monkeypatch.setattr(build, "CERTIFICATES", certificates)
    digest = hashlib.sha256(b"the proxy's").hexdigest()
    with pytest.raises(build.BuildError, match="certificates of the build"):
        build.check("serving", 1.0, build.Contents(files={"etc/other-name": digest}))


def test_the_bill_of_material_names_every_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "OUTPUT", tmp_path)
    packages = [*build.debian_packages(STATUS), *build.python_package("Name: PyYAML\nVersion: 6\n")]
    packages.append(
        build.file_component("opt/platform/jars/kafka/kafka-clients-4.3.1.jar", "ab" * 32)
    )
    build.write_results(
        "kafka", "abc", build.Contents(files={"b": "2", "a": "1"}, packages=packages)
    )
    document = json.loads((tmp_path / "kafka.cdx.json").read_text(encoding="utf-8"))
    assert {
        component["name"]: component.get("version") for component in document["components"]
    } == {
        "libc6": "2.36-9+deb12u10",
        "bash": "5.2.15-2+b8",
        "PyYAML": "6",
        "kafka-clients-4.3.1.jar": None,
    }
    assert document["metadata"]["component"]["version"] == "abc"
    assert (tmp_path / "kafka.sha256").read_text(encoding="utf-8") == "1  a\n2  b\n"


def test_compares_two_builds_by_their_files() -> None:
    first, second = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}
    assert build.changed_files(first, second) == ["b", "c", "d"]
    assert build.changed_files(first, dict(first)) == []


def store(*entries: tuple[str, int, bytes]) -> bytes:
    """Return a JKS key store of certificates: alias, time of installation, certificate."""
    content = struct.pack(">III", 0xFEEDFEED, 2, len(entries))
    for alias, time, certificate in entries:
        name = alias.encode()
        content += struct.pack(">IH", 2, len(name)) + name + struct.pack(">QH", time, 5) + b"X.509"
        content += struct.pack(">I", len(certificate)) + certificate
    salted = "changeit".encode("utf-16-be") + b"Mighty Aphrodite" + content
    return content + hashlib.sha1(salted).digest()  # noqa: S324 - the format's own


def test_trusted_certificates_do_not_depend_on_the_time_and_order_of_installation(
    tmp_path: Path,
) -> None:
    expected = store(("a", 0, b"first"), ("b", 0, b"second"))
    for number, content in enumerate(
        (
            store(("a", 17, b"first"), ("b", 18, b"second")),
            store(("b", 21, b"second"), ("a", 20, b"first")),
        )
    ):
        file = tmp_path / str(number)
        file.write_bytes(content)
        trust.main(file)
        assert file.read_bytes() == expected


def test_a_store_with_a_private_key_is_not_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(struct.pack(">IIIIH", 0xFEEDFEED, 2, 1, 1, 0))
    with pytest.raises(ValueError, match="not a certificate"):
        trust.main(file)
