"""An alert for a failed run: what it says, and where it goes (log file, webhook)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

WEBHOOK_SECONDS = 10.0


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
    def text(self) -> str:
        """The alert in one line, as a chat shows it."""
        stopped = ", ".join(self.failed_checks or self.failed_steps) or "the run"
        return f"{self.job} failed at {stopped}: {self.message} ({self.run_url})"


def write_alert(path: Path, alert: Alert) -> None:
    """Append the alert to `path` as one JSON line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(alert), ensure_ascii=False) + "\n")


def post_alert(url: str, alert: Alert) -> None:
    """POST the alert to a webhook as JSON; `text` is what chat services show.

    Raises httpx.HTTPError where the webhook does not take it.
    """
    payload = {"text": alert.text, **asdict(alert)}
    httpx.post(url, json=payload, timeout=WEBHOOK_SECONDS).raise_for_status()


def first_line(messages: Sequence[str]) -> str:
    """Return the first line that says something, for a message of one line."""
    lines = (line.strip() for message in messages for line in message.splitlines())
    return next((line for line in lines if line), "no message")
