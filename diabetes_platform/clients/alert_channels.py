"""Alert channels: chat, e-mail, webhooks and paging services, addressed by Apprise URLs.

https://appriseit.com/services lists the services and their URLs. A URL is a secret: no part of it
but its scheme appears in a log, an error or a result. `defs/alerts` decides what to send.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase, NotifyResult

DEADLINE_SECONDS = 20.0
"""The time for a message on one channel, retries included."""
_RETRIES = 2
_RETRY_WAIT_SECONDS = 1.0
_MAX_TITLE = 120
_SEPARATOR = re.compile(r"[\s,]+(?=[A-Za-z][\w+.-]*://)")
_URL = re.compile(r"([A-Za-z][\w+.-]*)://\S+")
_PROBLEMS = (
    (re.compile(r"\berror=(\d{3})\b"), "status {}"),
    (re.compile(r"\((\d{3}), b"), "status {}"),
    (re.compile("CERTIFICATE_VERIFY_FAILED"), "the TLS certificate is not trusted"),
    (re.compile("STARTTLS extension not supported"), "the server offers no encryption"),
    (re.compile("[Cc]onnection"), "the connection failed"),
)
"""Causes in Apprise's log that are safe to show; its other messages may contain a secret."""


class AlertUrlError(ValueError):
    """An alert URL is not valid; the message names its setting and number, but not the URL."""


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A channel: its name in messages, and its Apprise URL."""

    name: str
    url: SecretStr

    @property
    def is_mail(self) -> bool:
        """Whether the channel is e-mail over SMTP."""
        return self.url.get_secret_value().lower().startswith(("mailto://", "mailtos://"))


@dataclass(frozen=True, slots=True)
class Alert:
    """A message to people: `text` in one line, and `facts`, which a channel lists below it.

    Webhooks of the schemes json and jsons receive `text` and the facts as members. The alert log
    has the facts; the one that `identity` names is unique to the alert.
    """

    text: str
    facts: Mapping[str, Any]
    severity: Literal["failure", "success"] = "failure"
    identity: Literal["incident", "run_id"] = "incident"

    @property
    def title(self) -> str:
        """The text as a subject line."""
        return f"[diabetes_platform] {' '.join(self.text.split())[:_MAX_TITLE]}"

    @property
    def body(self) -> str:
        """The text and the facts."""
        lines = [f"{name}: {_as_text(value)}" for name, value in self.facts.items() if value]
        return "\n".join([self.text, "", *lines])


def parse_channels(text: str) -> list[AlertChannel]:
    """Return the channels in PLATFORM_ALERT_URLS: Apprise URLs, separated by commas or spaces.

    Checks their form only, because loading Apprise takes a second; see `check_channels`. Raises
    AlertUrlError.
    """
    channels = []
    for number, url in enumerate(_SEPARATOR.split(text.strip(" \t\r\n,")), start=1):
        match = _URL.fullmatch(url)
        if match is None:
            raise AlertUrlError(
                f"URL {number} is not of the form scheme://…; allowed: Apprise URLs, "
                "separated by commas or spaces"
            )
        name = f"PLATFORM_ALERT_URLS: URL {number} ({match[1]}://)"
        channels.append(AlertChannel(name, SecretStr(url)))
    return channels


def check_channels(channels: Sequence[AlertChannel]) -> None:
    """Raise AlertUrlError that names the first channel whose URL Apprise cannot use safely."""
    for channel in channels:
        if problem := _url_problem(channel):
            raise AlertUrlError(f"{channel.name} {problem}")


def send(channels: Sequence[AlertChannel], alert: Alert) -> dict[AlertChannel, str]:
    """Send an alert on every channel at the same time; return the problem of each, "" if delivered.

    A failed attempt is repeated twice, within DEADLINE_SECONDS. A channel that `check_channels`
    rejects gets no message.
    """
    problems = {channel: _url_problem(channel) for channel in channels}
    usable = [channel for channel, problem in problems.items() if not problem]
    if not usable:
        return problems
    from apprise import Apprise, NotifyFormat

    payload = {"text": alert.text, **alert.facts}
    # Apprise itself adds a member of this name with the body.
    payload.pop("message", None)
    services = [_service(channel, payload) for channel in usable]
    notifier = Apprise([service for service in services if service is not None], asset=_asset())
    result = notifier.notify(
        body=alert.body,
        title=alert.title,
        notify_type=alert.severity,
        body_format=NotifyFormat.TEXT,
        log_level=logging.DEBUG,
    )
    return problems | dict(zip(usable, map(_problem, result.results), strict=True))


def _service(
    channel: AlertChannel, payload: Mapping[str, Any] | None = None
) -> "NotifyBase | None":
    """Return Apprise's service of a channel, None if it does not know the URL."""
    _silence()
    from apprise import Apprise
    from apprise.plugins import url_to_dict

    components = url_to_dict(channel.url.get_secret_value())  # type: ignore[no-untyped-call]
    if components is None:
        return None
    if components["schema"] in {"json", "jsons"}:
        components["payload"] = {**(payload or {}), **components["payload"]}
    return Apprise.instantiate(components, asset=_asset())


def _url_problem(channel: AlertChannel) -> str:
    """Return why a URL may not be used, or ""."""
    from apprise.logger import LogCapture
    from apprise.plugins.email import NotifyEmail

    with LogCapture(level=logging.WARNING) as warnings:  # type: ignore[no-untyped-call]
        service = _service(channel)
    options = parse_qs(urlsplit(channel.url.get_secret_value()).query)
    recipients = ",".join(options.get("to", [])).split(",") if channel.is_mail else []
    if service is None:
        return "is not a valid Apprise URL: see https://appriseit.com/services"
    # Apprise ignores an invalid recipient, at most with a warning.
    invalid = [name for name in recipients if name and "@" not in name]
    if invalid or warnings.getvalue() or not len(service):
        return "has an invalid recipient or option: see https://appriseit.com/services"
    if not service.verify_certificate:
        return "does not verify TLS certificates; allowed: verify=yes"
    insecure = isinstance(service, NotifyEmail) and service.secure_mode == "insecure"
    if insecure and service.password:
        return "sends its password unencrypted; allowed: mailtos://"
    return ""


def _problem(result: "NotifyResult") -> str:
    """Return why a service did not accept the message; "" for a success."""
    # The result counts a failed service with the option optional=yes as a success.
    if any(result.attempts):
        return ""
    if result.status.name == "TIMEOUT":
        return f"no answer within {DEADLINE_SECONDS:g} s"
    log = "\n".join(entry.message for entry in result.logs())
    for pattern, problem in _PROBLEMS:
        if match := pattern.search(log):
            return problem.format(*match.groups())
    return "not accepted"


def _as_text(value: object) -> str:
    """Return the value of a fact as readable text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} ({count})" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _asset() -> "AppriseAsset":
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="diabetes_platform",
        service_timeout=DEADLINE_SECONDS,
        default_service_retry=_RETRIES,
        default_service_wait=_RETRY_WAIT_SECONDS,
        # A POST that is redirected arrives as a GET, without the message.
        http_redirects=False,
    )


def _silence() -> None:
    """Keep the log records of Apprise and its HTTP client away from handlers: they hold URLs."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    # Its debug messages name the cause of a failure.
    logger.setLevel(logging.DEBUG)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logging.getLogger("urllib3").setLevel(logging.WARNING)
