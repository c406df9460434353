"""The bootstrap: standard library only, nothing outside the home, fast the second time."""

import fcntl
import importlib.util
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from diabetes_platform.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "infra" / "local" / "bootstrap.py"


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bootstrap"] = module
    spec.loader.exec_module(module)
    return module


def run(
    home: Path, *arguments: str, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(SCRIPT), *arguments],
        env={"PLATFORM_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_runs_without_any_package() -> None:
    isolated = [sys.executable, "-I", "-S", str(SCRIPT), "no-such-task"]
    done = subprocess.run(isolated, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.split(":")[0]) == (2, "usage")


def test_rejects_an_old_python_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "old.py"
    old.write_text(
        "import sys, runpy\nsys.version_info = (3, 9, 2)\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, old], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("The platform needs Python 3.11 or newer, this is 3.9")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({}, PROJECT_ROOT / ".platform"),
        ({"PLATFORM_HOME": ""}, PROJECT_ROOT / ".platform"),
        ({"PLATFORM_HOME": "/srv/platform"}, Path("/srv/platform")),
    ],
)
def test_the_home_is_in_the_checkout_or_in_platform_home(
    bootstrap: ModuleType, environment: dict[str, str], home: Path
) -> None:
    assert bootstrap.platform_home(environment) == home


def test_installers_have_their_caches_below_the_home(bootstrap: ModuleType) -> None:
    caller = {"PATH": "/bin", "VIRTUAL_ENV": "/other", "PYTHONPATH": "/other", "PIP_USER": "1"}
    environment = bootstrap.child_environment(caller, Path("/home/p"))
    assert environment["UV_CACHE_DIR"] == "/home/p/cache/uv"
    assert environment["PIP_NO_CACHE_DIR"] == "1"
    assert environment["PATH"] == "/bin"
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "PIP_USER"} & environment.keys()


def test_the_demo_accepts_the_development_environment_but_tests_need_it(
    bootstrap: ModuleType,
) -> None:
    smaller, larger = bootstrap.PLATFORM.locks
    assert bootstrap.PLATFORM.accepted_locks(development=False) == (smaller, larger)
    assert bootstrap.PLATFORM.accepted_locks(development=True) == (larger,)


def test_an_installation_is_current_until_its_lock_changes(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("uv==1")
    first = bootstrap.digest(lock)
    directory = tmp_path / "installed"
    directory.mkdir()
    (directory / bootstrap.STAMP).write_text(first)
    assert not bootstrap.is_current(directory, [first], program="uv"), "its program is missing"
    (directory / "uv").touch()
    assert bootstrap.is_current(directory, ["other", first], program="uv")
    lock.write_text("uv==2")
    assert not bootstrap.is_current(directory, [bootstrap.digest(lock)], program="uv")
    assert bootstrap.digest(lock, python="3.11") != bootstrap.digest(lock, python="3.12")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Downloading scipy (33.7MiB)", True),
        ("   Building pyspark-client==4.2.0", True),
        ("error: Failed to fetch", True),
        ("hint: `uv` found no version that fits", True),
        (" + scipy==1.17.1", False),
        (" Downloaded scipy", False),
        ("Resolved 153 packages in 448ms", False),
    ],
)
def test_shows_progress_and_errors_of_uv(bootstrap: ModuleType, line: str, shown: bool) -> None:
    assert (bootstrap.CHATTER.match(line) is None) is shown


def test_every_lock_is_hashed_and_names_no_host(bootstrap: ModuleType) -> None:
    for lock in bootstrap.LOCKS:
        text = (lock.directory / lock.output).read_text(encoding="utf-8")
        pinned = [line for line in text.splitlines() if line and line[0] not in " #"]
        assert pinned
        assert all(line.endswith("\\") for line in pinned), "a version without a hash"
        assert "://" not in text


def test_both_locks_of_a_project_pin_the_same_versions(bootstrap: ModuleType) -> None:
    for environment in (bootstrap.PLATFORM, bootstrap.SERVING):
        smaller, larger = (
            {line for line in lock.read_text().splitlines() if line and line[0] not in " #"}
            for lock in environment.locks
        )
        assert smaller <= larger, environment.name


def test_clean_removes_only_a_home_of_the_platform(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    done = run(foreign, "clean")
    assert (done.returncode, foreign.exists()) == (1, True)
    assert "was not created by the platform" in done.stderr
    home = tmp_path / "home"
    home.mkdir()
    (home / "set-up.lock").touch()
    assert run(home, "clean").returncode == 0
    assert not home.exists()
    assert run(home, "clean").returncode == 0, "a missing home is no error"


def test_clean_leaves_a_running_platform_alone(tmp_path: Path) -> None:
    (tmp_path / "set-up.lock").touch()
    lock = tmp_path / "run" / "platform.lock"
    lock.parent.mkdir()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(tmp_path, "clean")
    assert (done.returncode, lock.exists()) == (1, True)
    assert "is running" in done.stderr


@pytest.mark.parametrize(
    ("existing", "mode"), [("nothing", 0o700), ("an older home", 0o700), ("another's", 0o755)]
)
def test_the_home_is_for_its_owner_only_unless_it_existed_before(
    bootstrap: ModuleType, tmp_path: Path, existing: str, mode: int
) -> None:
    home = tmp_path / "home"
    if existing != "nothing":
        home.mkdir(mode=0o755)
    if existing == "an older home":
        (home / bootstrap.SETUP_LOCK).touch()
    with bootstrap._one_at_a_time(home):
        assert stat.S_IMODE(home.stat().st_mode) == mode


def test_a_machine_without_pip_and_venv_gets_a_hint_what_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    # As Debian's python3 without its python3-venv: neither module can be imported.
    bare.write_text(f'#!/bin/sh\ncase "$*" in *pip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    bare.chmod(0o755)
    program = (
        f"import sys, runpy\nsys.executable = {str(bare)!r}\nsys.argv = ['bootstrap', 'demo']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PLATFORM_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "has neither pip nor venv" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_an_interrupted_set_up_says_so_in_one_line(tmp_path: Path) -> None:
    # A pip that is busy until Ctrl-C, as a terminal sends it: to the whole foreground group.
    slow = tmp_path / "python"
    slow.write_text('#!/bin/sh\ntest "$3" = --version && exit\necho busy\nexec sleep 60\n')
    slow.chmod(0o755)
    program = (
        "import signal, sys, runpy\n"
        # Whoever started the tests in the background had it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.executable = {str(slow)!r}\nsys.argv = ['bootstrap', 'demo']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PLATFORM_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any("busy" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert errors == "set-up interrupted: run it again to continue\n"
