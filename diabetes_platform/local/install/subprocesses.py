"""Child processes of an installation; each runs in its own process group and ends with it."""

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import cast

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.processes import dying_with_parent, signal_group

GRACE_SECONDS = 5.0
INTERRUPTING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_LINE = 2**20
_ERROR_LINE = re.compile(
    r"\[ERROR\] (?!\[ERROR\]|$)|error\b|go: .*: |.*\.go:\d+:\d+: ", re.IGNORECASE
)

OnLine = Callable[[str], None]


async def run(
    command: Sequence[str],
    *,
    step: str,
    log: Path,
    environment: Mapping[str, str],
    directory: Path | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Run `command` to its end; its output goes to `log` and line by line to `on_line`.

    Raises PlatformError with the reason if the command fails. Any exception, cancellation
    included, ends the whole process group.
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
        lines = await _read_output(process, log, on_line)
        code = await process.wait()
    finally:
        await _end_group(process)
    if code != 0:
        program = Path(command[0]).name
        raise PlatformError(f"{step}: {program} failed: {failure_reason(lines)} (log: {log})")


def run_interruptible(work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end, or cancel it on SIGINT, SIGTERM or SIGHUP.

    After a cancellation, when its processes have ended, raises KeyboardInterrupt. Call it from
    the main thread.
    """
    try:
        asyncio.run(_cancel_on_signals(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancel_on_signals(work: Coroutine[None, None, None]) -> None:
    # An exception from a signal handler could be raised anywhere, even between the start of a
    # process and the statement that guards it.
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[None]", asyncio.current_task())
    handlers = {number: signal.getsignal(number) for number in INTERRUPTING_SIGNALS}
    for number in INTERRUPTING_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        await work
    finally:
        for number, handler in handlers.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def failure_reason(lines: Sequence[str]) -> str:
    """Return the first error line of an installer's output, or else its last line."""
    printed = [line.strip() for line in lines if line.strip()]
    for line in printed:
        if _ERROR_LINE.match(line):
            return line.removeprefix("[ERROR] ")
    return printed[-1] if printed else "no output"


async def _read_output(
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
    """Terminate the process, then kill whatever remains of its group."""
    try:
        if process.returncode is None:
            signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    finally:
        signal_group(process.pid, signal.SIGKILL)
    # Reads to the end of the output, which closes the pipe.
    await process.communicate()
