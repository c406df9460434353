"""The supervisor of the platform, process-compose: start, process states, readiness, stop."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from diabetes_platform.clients import unix_socket
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout, make_private
from diabetes_platform.local.install.go import Program
from diabetes_platform.local.processes import last_line
from diabetes_platform.polling import wait_until

PROGRAM = Program(
    "process-compose",
    "github.com/f1bonacc1/process-compose/src",
    "github.com/f1bonacc1/process-compose/src/config.Version",
)
START_SECONDS = 15.0
REQUEST_SECONDS = 30.0
"""process-compose measures the memory of every process before it answers: slow during a start."""
STOP_REQUEST_SECONDS = 1.0
"""process-compose answers a stop request only when every process has ended."""
UP_SECONDS = 600.0
ONE_SHOT_SECONDS = 90.0
_POLL_SECONDS = 1.0
"""An answer about all processes costs the supervisor 0.14 s of CPU."""
_TOO_MANY_RESTARTS = 5
_LONGEST_SOCKET_PATH = 103
"""The limit of macOS, which is the shortest one."""
_ENDED = "Completed"
_GIVEN_UP = ("Error", "Skipped")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state of a process; `probed` means that it has a readiness probe."""

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
        """Whether the process does its work once and ends."""
        return self.name.endswith("-setup")

    @property
    def healthy(self) -> bool:
        """Whether the process is ready, or has completed its work."""
        if self.one_shot:
            return self.status == _ENDED and self.exit_code == 0
        return self.running and (self.ready or not self.probed)

    @property
    def given_up(self) -> bool:
        """Whether the supervisor does not start the process again."""
        if self.status == _ENDED:
            return not (self.one_shot and self.exit_code == 0)
        return self.status in _GIVEN_UP


class Supervisor:
    """The client of the supervisor of one home, which may run or not."""

    def __init__(self, layout: HomeLayout) -> None:
        self._layout = layout
        self.socket = socket_path(layout.home)

    def start(
        self, files: Sequence[Path], environment: Mapping[str, str], *, lock_descriptor: int
    ) -> int:
        """Start the supervisor, wait until it answers, and return its pid.

        It outlives this process and keeps the lock behind `lock_descriptor`. Raises PlatformError
        if it ends or does not answer.
        """
        make_private(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        log = self._layout.log("supervisor")
        output_log = log.with_suffix(".out")
        command = [str(self._layout.tools / "bin" / PROGRAM.name), "up", "--tui=false"]
        command += ["--keep-project", "--ordered-shutdown", "--use-uds"]
        command += ["--unix-socket", str(self.socket), "--log-file", str(log)]
        for file in files:
            command += ["--config", str(file)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with output_log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=self._layout.home,
                start_new_session=True,
                pass_fds=(lock_descriptor,),
            )
        self._wait_for_answer(process, output_log)
        # Nothing waits for the process; without a return code, Popen would warn that it still runs.
        process.returncode = 0
        return process.pid

    def processes(self) -> list[ProcessState] | None:
        """Return the state of every process; None if no supervisor answers."""
        answer = self._request("GET", "/processes")
        return None if answer is None else [_parse_state(item) for item in answer["data"]]

    def process(self, name: str) -> ProcessState | None:
        """Return the state of one process, which is cheaper; None if no supervisor answers."""
        answer = self._request("GET", f"/process/{name}")
        return None if answer is None else _parse_state(answer)

    def answers(self) -> bool:
        """Whether the supervisor runs."""
        return self._request("GET", "/live") is not None

    def shut_down(self) -> None:
        """Ask the supervisor to stop all processes in order and then itself; does not wait."""
        self._request("POST", "/project/stop", STOP_REQUEST_SECONDS)

    def start_ended(self, order: Sequence[str]) -> None:
        """Start the processes of `order` that have ended, and wait for the one-shot ones.

        One-shot processes are idempotent: they create again what was deleted. Raises PlatformError
        with the last log line of one that fails.
        """
        states = self._states()
        for name in order:
            state = states.get(name)
            if state is not None and state.status in (_ENDED, *_GIVEN_UP):
                self._request("POST", f"/process/start/{name}")
                if state.one_shot:
                    self._wait_for_end(state)

    def _wait_for_end(self, previous: ProcessState) -> None:
        """Wait for the end of a one-shot process that was in state `previous` before its start."""
        name, log = previous.name, self._layout.log(previous.name)

        def ended() -> ProcessState | None:
            state = self._states([name])[name]
            return state if state.pid != previous.pid and state.status == _ENDED else None

        try:
            state = wait_until(ended, timeout=ONE_SHOT_SECONDS, interval=0.2)
        except TimeoutError:
            message = f"{name} has not ended after {ONE_SHOT_SECONDS:.0f} s: {last_line(log)}"
            raise PlatformError(message) from None
        if state is not None and state.exit_code != 0:
            raise PlatformError(f"{name} failed: {last_line(log)}")

    def wait_until_healthy(
        self, on_healthy: Callable[[str], None], seconds: float = UP_SECONDS
    ) -> list[ProcessState]:
        """Wait until every process is healthy and return their states.

        `on_healthy` is called once with the name of each process. Raises PlatformError with the
        last log line of a process that does not start, or with the names of those that are late.
        """
        reported: set[str] = set()
        states: dict[str, ProcessState] = {}

        def poll() -> bool:
            pending = [name for name, state in states.items() if not state.healthy]
            states.update(self._states(pending))
            for name, state in states.items():
                if state.healthy and name not in reported:
                    reported.add(name)
                    on_healthy(name)
            failed = failed_process(list(states.values()))
            if failed is not None:
                line = last_line(self._layout.log(failed))
                raise PlatformError(f"{failed} does not start: {line}")
            if pending and _all_healthy(states):
                # Only the states of pending processes were read: another one may have ended since.
                states.update(self._states())
            return _all_healthy(states)

        try:
            wait_until(poll, timeout=seconds, interval=_POLL_SECONDS)
        except TimeoutError:
            late = ", ".join(f"{s.name} ({s.status})" for s in states.values() if not s.healthy)
            hint = "see `diabetes logs <service>`"
            raise PlatformError(f"not healthy after {seconds:.0f} s: {late}; {hint}") from None
        return list(states.values())

    def _states(self, names: Sequence[str] = ()) -> dict[str, ProcessState]:
        """Return the states of `names`, by default of all; PlatformError if it has ended."""
        answers: list[ProcessState | None] = [self.process(name) for name in names]
        if not names:
            answers.extend(self.processes() or [None])
        states = [state for state in answers if state is not None]
        if len(states) < len(answers):
            raise PlatformError("the supervisor has ended: see `diabetes logs supervisor`")
        return {state.name: state for state in states}

    def _request(self, method: str, path: str, seconds: float = REQUEST_SECONDS) -> Any:  # noqa: ANN401
        """Return the JSON of the answer; None if the supervisor does not answer."""
        answer = unix_socket.request(self.socket, method, path, seconds)
        if answer is None:
            return None
        status, body = answer
        if status >= HTTPStatus.BAD_REQUEST:
            raise PlatformError(f"the supervisor answers {path} with status {status}")
        return json.loads(body)

    def _wait_for_answer(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        def answers() -> bool:
            if self.answers():
                return True
            if process.poll() is not None:
                raise PlatformError(f"the supervisor ended at once: {last_line(output)}")
            return False

        try:
            wait_until(answers, timeout=START_SECONDS, interval=0.05)
        except TimeoutError:
            process.kill()
            message = f"the supervisor does not answer: {last_line(output)}"
            raise PlatformError(message) from None


def failed_process(processes: Sequence[ProcessState]) -> str | None:
    """Return the first process that was given up or restarts again and again, or None."""
    for process in processes:
        restarts_forever = process.restarts >= _TOO_MANY_RESTARTS and not process.healthy
        # A skipped process waits for another one, which is the one to name.
        if (process.given_up and process.status != "Skipped") or restarts_forever:
            return process.name
    return next((process.name for process in processes if process.given_up), None)


def socket_path(home: Path) -> Path:
    """Return the supervisor's Unix socket, which is below `home` unless the path is too long."""
    path = home / "run" / "supervisor.sock"
    if len(str(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"diabetes-{os.getuid()}-{digest}" / "supervisor.sock"


def _all_healthy(states: Mapping[str, ProcessState]) -> bool:
    return all(state.healthy for state in states.values())


def _parse_state(item: Mapping[str, Any]) -> ProcessState:
    return ProcessState(
        name=item["name"],
        status=item["status"],
        running=bool(item["is_running"]),
        ready=item.get("is_ready") == "Ready",
        probed=bool(item.get("has_ready_probe")),
        pid=int(item.get("pid") or 0),
        restarts=int(item.get("restarts") or 0),
        exit_code=int(item.get("exit_code") or 0),
    )
