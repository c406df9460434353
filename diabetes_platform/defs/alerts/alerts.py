"""An alert for a failed run, and how every alert goes once to the log file and to people."""

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from logging import ERROR, INFO
from pathlib import Path
from typing import IO, Literal, Protocol

import dagster as dg

from diabetes_platform.defs.alerts.channels import Delivery, Notice, mail, post
from diabetes_platform.settings import PlatformSettings


class AlertError(RuntimeError):
    """A channel did not take an alert. Never shows the webhook's URL, which is its secret."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One failed run: `failed_checks` names the blocking checks that stopped it."""

    job: str
    run_id: str
    run_url: str
    message: str
    failed_steps: tuple[str, ...]
    failed_checks: tuple[str, ...]
    time: str

    @property
    def identity(self) -> tuple[str, str]:
        """By what it is known in the log file."""
        return "run_id", self.run_id

    @property
    def text(self) -> str:
        """The alert in one line, as a chat shows it."""
        stopped = ", ".join(self.failed_checks or self.failed_steps) or "the run"
        return f"{self.job} failed at {stopped}: {self.message} ({self.run_url})"


def send_alert(alert: Notice, settings: PlatformSettings) -> bool:
    """Tell webhook and mail, then the log file, of what happened; return False if the file has it.

    The line in the file says which took it (`delivered` the webhook, `mailed` the mail server:
    true, false, or null where there is none), so that an alert that was not delivered is not lost.
    No channel waits for another to work. Raises AlertError naming those that did not.
    """
    told: dict[str, Delivery] = {}
    problems = []
    try:
        with _locked(settings.alerts) as file:
            if _has(file, alert.identity):
                return False
            told = _tell(alert, settings)
            said = {"delivered": told["webhook"].delivered, "mailed": told["mail"].delivered}
            file.write(json.dumps({**asdict(alert), **said}, ensure_ascii=False) + "\n")
    except OSError as error:
        problems.append(f"log file: {error.strerror or type(error).__name__}")
    told = told or _tell(alert, settings)
    problems += [f"{name}: {each.problem}" for name, each in told.items() if each.problem]
    if problems:
        name, value = alert.identity
        subject = f"{name.removesuffix('_id')} {value}"
        raise AlertError(f"alert of {subject} failed: {'; '.join(problems)}")
    return True


class IncidentNotice(Notice, Protocol):
    """Of something that begins and ends."""

    @property
    def state(self) -> Literal["raised", "resolved"]:
        """Whether it began or ended."""


def tell(
    context: dg.SensorEvaluationContext,
    alerts: Iterable[IncidentNotice],
    settings: PlatformSettings,
) -> None:
    """Send each alert, and say it in the tick's log.

    Where this raises the sensor's cursor stays: the next tick tells what was not told.
    """
    for alert in alerts:
        context.log.log(ERROR if alert.state == "raised" else INFO, alert.text)
        send_alert(alert, settings)


def _tell(alert: Notice, settings: PlatformSettings) -> dict[str, Delivery]:
    return {"webhook": post(settings, alert), "mail": mail(settings, alert)}


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open `path` to read and append; the sensor and a run's own process take turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def _has(file: IO[str], identity: tuple[str, str]) -> bool:
    # Not parsed: a line cut off by a full disk must not stop the alerts after it.
    name, value = identity
    member = f'"{name}": {json.dumps(value, ensure_ascii=False)}'
    return any(member in line for line in file)
