"""Running an installer: a process group of its own that ends with the installation."""

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import cast

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.processes import dying_with_parent, signal_group

GRACE_SECONDS = 5.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_LINE = 2**20
_SAYS_WHY = re.compile(
    r"\[ERROR\] (?!\[ERROR\]|$)|error\b|go: .*: |.*\.go:\d+:\d+: ", re.IGNORECASE
)

OnLine = Callable[[str], None]


async def run(
    command: Sequence[str],
    *,
    part: str,
    log: Path,
    environment: Mapping[str, str],
    directory: Path | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Run `command` to its end, its output into `log` and line by line to `on_line`.

    Raises PlatformError with the line that says why it failed. Whatever ends this ends the whole
    process group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *dying_with_parent(signal.SIGTERM),
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd=directory,
        start_new_session=True,
        limit=LONGEST_LINE,
    )
    try:
        lines = await _follow(process, log, on_line)
        code = await process.wait()
    finally:
        await _end_group(process)
    if code != 0:
        program = Path(command[0]).name
        raise PlatformError(f"{part}: {program} failed: {reason(lines)} (log: {log})")


def run_interruptible(work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end; what interrupts a command cancels it.

    Raises KeyboardInterrupt after it was cancelled and has ended its processes. Call it from the
    main thread.
    """
    try:
        asyncio.run(_cancelled_by_signals(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancelled_by_signals(work: Coroutine[None, None, None]) -> None:
    """An exception out of a signal handler could hit anywhere, also while a process is started."""
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[None]", asyncio.current_task())
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        loop.add_signal_handler(number, task.cancel)
    try:
        await work
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def reason(lines: Sequence[str]) -> str:
    """Return the line of an installer's output that says why it failed."""
    spoken = [line.strip() for line in lines if line.strip()]
    for line in spoken:
        if _SAYS_WHY.match(line):
            return line.removeprefix("[ERROR] ")
    return spoken[-1] if spoken else "it said nothing"


async def _follow(
    process: asyncio.subprocess.Process, log: Path, on_line: OnLine | None
) -> list[str]:
    lines = []
    output = cast("asyncio.StreamReader", process.stdout)
    with log.open("w", encoding="utf-8") as file:
        async for raw in output:
            line = raw.decode("utf-8", "replace").rstrip()
            file.write(f"{line}\n")
            lines.append(line)
            if on_line is not None:
                on_line(line)
    return lines


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Ask what is left of the group to end, then force it."""
    try:
        if process.returncode is None:
            signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    finally:
        signal_group(process.pid, signal.SIGKILL)
    # The end of its output closes the pipe.
    await process.communicate()
