"""An alert for a failed run, and how every alert goes once to log file and webhook."""

import fcntl
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol

import httpx
from pydantic import SecretStr

from diabetes_platform.settings import PlatformSettings

WEBHOOK_SECONDS = 5.0
_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each attempt to post; a tick of the sensor must not take minutes."""


class AlertError(RuntimeError):
    """A channel did not take an alert. Never shows the webhook's URL, which is its secret."""


class Notice(Protocol):
    """A dataclass of what is told."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def identity(self) -> tuple[str, str]:
        """A member by which it is known in the file, as name and value: it is told once."""

    @property
    def text(self) -> str:
        """All of it in one line, as a chat shows it."""


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


@dataclass(frozen=True, slots=True)
class _Post:
    """What became of a POST: `delivered` is None where there is no webhook."""

    delivered: bool | None
    problem: str = ""


def send_alert(alert: Notice, settings: PlatformSettings) -> bool:
    """Tell the webhook, then the log file, of what happened; return False if the file has it.

    The line in the file says whether the webhook took it (`delivered`: true, false, or null
    without a webhook), so that an alert that was not delivered is not lost. Neither channel waits
    for the other to work. Raises AlertError naming those that did not.
    """
    post: _Post | None = None
    problems = []
    try:
        with _locked(settings.alerts) as file:
            if _has(file, alert.identity):
                return False
            post = _deliver(settings.alert_webhook_url, alert)
            line = {**asdict(alert), "delivered": post.delivered}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        problems.append(f"log file: {error.strerror or type(error).__name__}")
    post = post or _deliver(settings.alert_webhook_url, alert)
    if post.problem:
        problems.append(f"webhook: {post.problem}")
    if problems:
        name, value = alert.identity
        subject = f"{name.removesuffix('_id')} {value}"
        raise AlertError(f"alert of {subject} failed: {'; '.join(problems)}")
    return True


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


def _deliver(webhook: SecretStr | None, alert: Notice) -> _Post:
    if webhook is None:
        return _Post(None)
    problem = ""
    for seconds in _PAUSES:
        time.sleep(seconds)
        problem = _post(webhook.get_secret_value(), alert)
        if not problem:
            return _Post(delivered=True)
    return _Post(delivered=False, problem=problem)


def _post(url: str, alert: Notice) -> str:
    """POST once as JSON, `text` being what chats show; return why it was not taken, or ""."""
    for name in ("httpx", "httpcore"):
        # They log the URL.
        logging.getLogger(name).setLevel(logging.WARNING)
    payload = {"text": alert.text, **asdict(alert)}
    try:
        response = httpx.post(url, json=payload, timeout=WEBHOOK_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return type(error).__name__
    return "" if response.is_success else f"status {response.status_code}"
