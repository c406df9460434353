"""Delivery of alerts to the alert log and to all alert channels.

A channel gets each alert once. If it does not accept the alert, it is tried again: up to three
times in total.
"""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from diabetes_platform.clients.alert_channels import Alert, AlertChannel, send
from diabetes_platform.settings import PlatformSettings

MAX_DELIVERIES = 3
"""An alert is sent at most this many times to a channel that does not accept it."""


class AlertError(RuntimeError):
    """The log or a channel did not accept an alert; the message contains no channel URL."""


def send_alert(alert: Alert, settings: PlatformSettings) -> bool:
    """Send an alert to all channels and append it to the log; return False if the log has it.

    The line in the log says whether the mail channels (`mailed`) and all other channels
    (`delivered`) accepted the alert: true, false, or null if there is no such channel.
    `failed_channels` names the channels that did not: a repeated call sends the alert to these
    only, and appends another line. Raises AlertError with the reason for each.
    """
    problems: dict[AlertChannel, str] | None = None
    errors = []
    try:
        with _locked(settings.alerts) as log:
            lines = _lines_of(log, alert)
            unsent = [c for c in settings.alert_channels if not lines or c.name in lines[-1]]
            if lines and (not unsent or len(lines) >= MAX_DELIVERIES):
                return False
            problems = dict.fromkeys(settings.alert_channels, "") | send(unsent, alert)
            line = {**alert.facts, **_outcome(problems)}
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        errors.append(f"log file: {error.strerror or type(error).__name__}")
    if problems is None:
        problems = send(settings.alert_channels, alert)
    errors += [f"{channel.name}: {problem}" for channel, problem in problems.items() if problem]
    if errors:
        subject = f"{alert.identity.removesuffix('_id')} {alert.facts[alert.identity]}"
        raise AlertError(f"alert of {subject} failed: {'; '.join(errors)}")
    return True


def send_alerts(alerts: Iterable[Alert], settings: PlatformSettings) -> None:
    """Send every alert, even if others fail. Raises AlertError that names all problems."""
    errors = []
    for alert in alerts:
        try:
            send_alert(alert, settings)
        except AlertError as error:
            errors.append(str(error))
    if errors:
        raise AlertError("; ".join(errors))


def _outcome(problems: Mapping[AlertChannel, str]) -> dict[str, Any]:
    mail = [not problem for channel, problem in problems.items() if channel.is_mail]
    other = [not problem for channel, problem in problems.items() if not channel.is_mail]
    return {
        "delivered": all(other) if other else None,
        "mailed": all(mail) if mail else None,
        "failed_channels": [channel.name for channel, problem in problems.items() if problem],
    }


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open `path` for reading and appending, under a lock: sensors and runs both write to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def _lines_of(log: IO[str], alert: Alert) -> list[str]:
    """Return the alert's lines, unparsed: one that a full disk cut off must not stop an alert."""
    value = json.dumps(alert.facts[alert.identity], ensure_ascii=False)
    return [line for line in log if f'"{alert.identity}": {value}' in line]
