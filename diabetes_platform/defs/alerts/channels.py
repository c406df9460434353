"""The ways of an alert to people: a webhook and mail. Neither shows its secret in what it says."""

import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from diabetes_platform.settings import PlatformSettings

SECONDS = 5.0
"""For one attempt."""
_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each attempt; a tick of the sensor must not take minutes."""
_LONGEST_SUBJECT = 120


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
class Delivery:
    """What became of it: `delivered` is None where the channel is not set up."""

    delivered: bool | None
    problem: str = ""


def post(settings: PlatformSettings, notice: Notice) -> Delivery:
    """POST the notice to the webhook as JSON, `text` being what chats show."""
    webhook = settings.alert_webhook_url
    if webhook is None:
        return Delivery(None)
    return _tried(lambda: _post(webhook.get_secret_value(), notice))


def mail(settings: PlatformSettings, notice: Notice) -> Delivery:
    """Send the notice by SMTP, encrypted where the server can; a password never goes in clear."""
    if settings.alert_mail_url is None:
        return Delivery(None)
    url = settings.alert_mail_url.get_secret_value()
    given = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    message = EmailMessage()
    # A header is one line.
    subject = " ".join(notice.text.split())[:_LONGEST_SUBJECT]
    message["Subject"] = f"[diabetes_platform] {subject}"
    message["To"] = given["to"].replace(",", ", ")
    message["From"] = given.get("from") or given["to"].split(",")[0]
    facts = "\n".join(f"{name}: {value}" for name, value in asdict(notice).items() if value)
    message.set_content(f"{notice.text}\n\n{facts}\n")
    return _tried(lambda: _mail(url, message))


def _tried(send: Callable[[], str]) -> Delivery:
    problem = ""
    for seconds in _PAUSES:
        time.sleep(seconds)
        problem = send()
        if not problem:
            return Delivery(delivered=True)
    return Delivery(delivered=False, problem=problem)


def _post(url: str, notice: Notice) -> str:
    """POST once; return why it was not taken, or ""."""
    for name in ("httpx", "httpcore"):
        # They log the URL.
        logging.getLogger(name).setLevel(logging.WARNING)
    payload = {"text": notice.text, **asdict(notice)}
    try:
        response = httpx.post(url, json=payload, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return type(error).__name__
    return "" if response.is_success else f"status {response.status_code}"


def _mail(given: str, message: EmailMessage) -> str:
    """Send once; return why it was not taken, or ""."""
    url = urlsplit(given)
    host, port = url.hostname or "", url.port or 0
    # smtplib's own default encrypts for whoever answers.
    verified = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=verified)
            if url.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=SECONDS)
        ) as server:
            server.ehlo()
            if url.scheme == "smtp" and server.has_extn("starttls"):
                server.starttls(context=verified)
                server.ehlo()
            elif url.scheme == "smtp" and url.password is not None:
                return "offers no encryption, and a password is not sent without"
            if url.username is not None:
                server.login(unquote(url.username), unquote(url.password or ""))
            server.send_message(message)
    except smtplib.SMTPResponseException as error:
        return f"status {error.smtp_code}"
    except (smtplib.SMTPException, OSError) as error:
        return type(error).__name__
    return ""
