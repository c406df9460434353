"""Delivery of alerts: each one goes once to the alert log and to every alert channel."""

import fcntl
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, Protocol

from diabetes_platform.clients.alert_channels import AlertMessage, Delivery, send
from diabetes_platform.settings import PlatformSettings


class AlertError(RuntimeError):
    """The log or a channel did not accept an alert; the message contains no channel URL."""


class Alert(Protocol):
    """A dataclass whose fields become the members of a line in the alert log."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def identity(self) -> tuple[str, str]:
        """The member that identifies the alert in the log, as name and value."""

    @property
    def text(self) -> str:
        """The alert in one line."""

    @property
    def severity(self) -> Literal["failure", "success"]:
        """How channels mark the alert."""


def send_alert(alert: Alert, settings: PlatformSettings) -> bool:
    """Send an alert to all channels and append it to the log; return False if the log has it.

    The line in the log says whether the mail channels (`mailed`) and all other channels
    (`delivered`) accepted the alert: true, false, or null if there is no such channel.
    `failed_channels` names the channels that did not. Raises AlertError with the reason for each.
    """
    deliveries: list[Delivery] | None = None
    problems = []
    try:
        with _locked(settings.alerts) as log:
            if _contains(log, alert.identity):
                return False
            deliveries = _deliver(alert, settings)
            line = {**asdict(alert), **_outcome(deliveries)}
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        problems.append(f"log file: {error.strerror or type(error).__name__}")
    if deliveries is None:
        deliveries = _deliver(alert, settings)
    problems += [f"{failed.channel.name}: {failed.problem}" for failed in _failed(deliveries)]
    if problems:
        name, value = alert.identity
        subject = f"{name.removesuffix('_id')} {value}"
        raise AlertError(f"alert of {subject} failed: {'; '.join(problems)}")
    return True


def send_alerts(alerts: Iterable[Alert], settings: PlatformSettings) -> None:
    """Send every alert, even if others fail. Raises AlertError that names all problems."""
    problems = []
    for alert in alerts:
        try:
            send_alert(alert, settings)
        except AlertError as error:
            problems.append(str(error))
    if problems:
        raise AlertError("; ".join(problems))


def _deliver(alert: Alert, settings: PlatformSettings) -> list[Delivery]:
    message = AlertMessage(alert.text, asdict(alert), alert.severity)
    return send(settings.alert_channels, message)


def _failed(deliveries: Sequence[Delivery]) -> list[Delivery]:
    return [delivery for delivery in deliveries if delivery.problem]


def _outcome(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    mail = [delivery for delivery in deliveries if delivery.channel.is_mail]
    other = [delivery for delivery in deliveries if not delivery.channel.is_mail]
    return {
        "delivered": not _failed(other) if other else None,
        "mailed": not _failed(mail) if mail else None,
        "failed_channels": [delivery.channel.name for delivery in _failed(deliveries)],
    }


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open `path` for reading and appending, under a lock: sensors and runs both write to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def _contains(log: IO[str], identity: tuple[str, str]) -> bool:
    # Lines are not parsed: a line that a full disk cut off must not stop later alerts.
    name, value = identity
    member = f'"{name}": {json.dumps(value, ensure_ascii=False)}'
    return any(member in line for line in log)
