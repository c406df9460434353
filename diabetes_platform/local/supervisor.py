"""process-compose as this platform's supervisor: start it, ask it, stop it."""

import hashlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.install.go import Program
from diabetes_platform.local.locks import make_private
from diabetes_platform.local.processes import last_line

PROGRAM = Program(
    "process-compose",
    "github.com/f1bonacc1/process-compose/src",
    "github.com/f1bonacc1/process-compose/src/config.Version",
)
ANSWER_SECONDS = 15.0
BUSY_SECONDS = 30.0
"""It counts every process's memory before it answers, on a machine where all of them start."""
STOP_ORDER_SECONDS = 1.0
"""It answers only when it is done with it."""
_LONGEST_SOCKET_PATH = 103
"""On the platform where it is shortest, macOS."""
_ENDED = "Completed"
_GIVEN_UP = ("Error", "Skipped")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as the supervisor sees it; `probed` says that it has a readiness probe."""

    name: str
    status: str
    running: bool
    ready: bool
    probed: bool
    pid: int
    restarts: int
    exit_code: int

    @property
    def one_shot(self) -> bool:
        """Whether it does its work once and ends."""
        return self.name.endswith("-setup")

    @property
    def healthy(self) -> bool:
        """Whether it serves, or has done its work."""
        if self.one_shot:
            return self.status == _ENDED and self.exit_code == 0
        return self.running and (self.ready or not self.probed)

    @property
    def given_up(self) -> bool:
        """Whether the supervisor will not start it again."""
        if self.status == _ENDED:
            return not (self.one_shot and self.exit_code == 0)
        return self.status in _GIVEN_UP


class Supervisor:
    """The supervisor of one platform, running or not."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.socket = socket_path(layout.home)

    def start(self, files: Sequence[Path], environment: Mapping[str, str], *, holding: int) -> int:
        """Start it, wait until it answers and return its pid; PlatformError where it does not.

        It goes on when this process ends, and holds the lock `holding` as long as it runs.
        """
        make_private(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        log = self._layout.supervisor_log
        command = [str(self._layout.tools / "bin" / "process-compose"), "up", "--tui=false"]
        command += ["--keep-project", "--ordered-shutdown", "--use-uds"]
        command += ["--unix-socket", str(self.socket), "--log-file", str(log)]
        for file in files:
            command += ["--config", str(file)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.with_suffix(".out").open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=self._layout.home,
                start_new_session=True,
                pass_fds=(holding,),
            )
        self._wait_until_it_answers(process, log.with_suffix(".out"))
        # Nobody waits for its end: without this, Popen would warn of a child left behind.
        process.returncode = 0
        return process.pid

    def processes(self) -> list[ProcessState] | None:
        """Return every process's state; None where no supervisor answers."""
        answer = self._ask("GET", "/processes")
        return None if answer is None else [_state(one) for one in answer["data"]]

    def process(self, name: str) -> ProcessState | None:
        """Return one process's state, which is cheaper; None where no supervisor answers."""
        answer = self._ask("GET", f"/process/{name}")
        return None if answer is None else _state(answer)

    def answers(self) -> bool:
        """Whether it runs."""
        return self._ask("GET", "/live") is not None

    def shut_down(self) -> None:
        """Tell it to stop every process in order, then itself; it may still be at it."""
        self._ask("POST", "/project/stop", STOP_ORDER_SECONDS)

    def _ask(self, method: str, path: str, seconds: float = BUSY_SECONDS) -> Any:  # noqa: ANN401 - JSON
        if not self._listens():
            return None
        # To load certificates for what is no TLS takes longer than the rest.
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)
        with httpx.Client(transport=transport, timeout=seconds, trust_env=False) as client:
            try:
                response = client.request(method, f"http://supervisor{path}")
            except httpx.TransportError:
                return None
            response.raise_for_status()
            return response.json()

    def _listens(self) -> bool:
        # httpx would leave its socket open where nobody listens.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self.answers():
            if process.poll() is not None:
                raise PlatformError(f"the supervisor ended at once: {last_line(output)}")
            if time.monotonic() > deadline:
                process.kill()
                raise PlatformError(f"the supervisor does not answer: {last_line(output)}")
            time.sleep(0.05)


def socket_path(home: Path) -> Path:
    """Return where the supervisor of `home` listens: below it, else where the path is short."""
    path = home / "run" / "supervisor.sock"
    if len(str(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"diabetes-{os.getuid()}-{digest}" / "supervisor.sock"


def _state(one: Mapping[str, Any]) -> ProcessState:
    return ProcessState(
        name=one["name"],
        status=one["status"],
        running=bool(one["is_running"]),
        ready=one.get("is_ready") == "Ready",
        probed=bool(one.get("has_ready_probe")),
        pid=int(one.get("pid") or 0),
        restarts=int(one.get("restarts") or 0),
        exit_code=int(one.get("exit_code") or 0),
    )
