"""The script that locks the jars: what the pom says, and the format that others read."""

import importlib.util
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest

from diabetes_platform.local.install.jars import LOCK, POM, read_lock
from diabetes_platform.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "infra" / "local" / "jars" / "lock.py"


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("jars_lock", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_profile_of_the_pom_is_locked_in_its_own_directory(lock: ModuleType) -> None:
    profiles = dict(lock.profiles(POM.read_bytes()))
    assert {jar_set.profile: jar_set.directory for jar_set in read_lock().values()} == profiles


def test_the_lock_is_sorted_by_path(lock: ModuleType) -> None:
    entries = LOCK.read_text(encoding="utf-8").removeprefix(
        lock.HEADER.format(pom=lock.sha256(POM))
    )
    paths = [line.split("  ")[1] for line in entries.splitlines()]
    assert paths == sorted(paths)


def test_each_jar_is_one_line_without_the_cache(lock: ModuleType, tmp_path: Path) -> None:
    for path in ("kafka/b.jar", "connect/debezium/a.jar", ".m2/org/x/x.jar"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(path.encode())
    assert list(lock.lines(tmp_path)) == [
        f"{sha256(path.encode()).hexdigest()}  {path}\n"
        for path in ("connect/debezium/a.jar", "kafka/b.jar")
    ]


def test_the_lock_stays_without_maven() -> None:
    content = LOCK.read_bytes()
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(
        command, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (
        1,
        "the jars are locked by Maven and there is no mvn on PATH: install it\n",
    )
    assert LOCK.read_bytes() == content
