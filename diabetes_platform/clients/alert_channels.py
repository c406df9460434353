"""Alert channels: chat, e-mail, webhooks and paging services, addressed by Apprise URLs.

https://appriseit.com/services lists the services and their URLs. A URL is a secret: no part of it
but its scheme appears in a log, an error or a result. `defs/alerts` decides what to send.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase, NotifyResult

DEADLINE_SECONDS = 20.0
"""The time for a message on one channel, retries included."""
_RETRIES = 2
_RETRY_WAIT_SECONDS = 1.0
_MAX_TITLE = 120
_SEPARATOR = re.compile(r"[\s,]+(?=[A-Za-z][\w+.-]*://)")
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*)://\S+")
_MAIL = frozenset({"mailto", "mailtos"})
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
        return _scheme(self.url.get_secret_value()) in _MAIL


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """What a channel shows: `text` in one line, and `facts` as a list below it.

    Webhooks of the schemes json and jsons receive `text` and the facts as members.
    """

    text: str
    facts: Mapping[str, Any]
    severity: Literal["failure", "success"] = "failure"

    @property
    def title(self) -> str:
        """The text as a subject line."""
        return f"[diabetes_platform] {' '.join(self.text.split())[:_MAX_TITLE]}"

    @property
    def body(self) -> str:
        """The text and the facts."""
        lines = [f"{name}: {_as_text(value)}" for name, value in self.facts.items() if value]
        return "\n".join([self.text, "", *lines])


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of a message on a channel; `problem` is empty if it was delivered."""

    channel: AlertChannel
    problem: str = ""


def parse_channels(text: str) -> list[AlertChannel]:
    """Return the channels in PLATFORM_ALERT_URLS: Apprise URLs, separated by commas or spaces.

    Checks their form only, because loading Apprise takes a second; see `check_channels`. Raises
    AlertUrlError.
    """
    channels = []
    for number, url in enumerate(_SEPARATOR.split(text.strip(" \t\r\n,")), start=1):
        if not _SCHEME.fullmatch(url):
            raise AlertUrlError(
                f"URL {number} is not of the form scheme://…; allowed: Apprise URLs, "
                "separated by commas or spaces"
            )
        name = f"PLATFORM_ALERT_URLS: URL {number} ({_scheme(url)}://)"
        channels.append(AlertChannel(name, SecretStr(url)))
    return channels


def webhook_channel(url: str) -> list[AlertChannel]:
    """Return the channel in PLATFORM_ALERT_WEBHOOK_URL, a URL of http or https."""
    parts = urlsplit(url)
    # Without the minus, Apprise would take a parameter for an option of its own.
    query = urlencode([(f"-{name}", value) for name, value in parse_qsl(parts.query)])
    scheme = parts.scheme.replace("http", "json")
    apprise_url = parts._replace(scheme=scheme, query=query, fragment="").geturl()
    return [AlertChannel("PLATFORM_ALERT_WEBHOOK_URL", SecretStr(apprise_url))]


def mail_channel(url: str) -> list[AlertChannel]:
    """Return the channel in PLATFORM_ALERT_MAIL_URL; AlertUrlError with the allowed form.

    The connection is always encrypted.
    """
    try:
        parts = urlsplit(url)
        recipients = parse_qs(parts.query)["to"][0]
        port = parts.port or (465 if parts.scheme == "smtps" else 25)
        valid = all("@" in recipient for recipient in recipients.split(","))
        valid = valid and parts.scheme in {"smtp", "smtps"} and parts.port != 0
    except (ValueError, KeyError):
        valid = False
    if not valid or not parts.hostname:
        raise AlertUrlError("allowed: smtp[s]://user:password@host[:port]?to=name@host,…")
    if parts.scheme == "smtp" and not parts.username:
        raise AlertUrlError(
            "smtp:// without a user is no longer supported; set PLATFORM_ALERT_URLS to "
            "mailtos://host:port?to=…&from=… (with STARTTLS) or mailto://… (unencrypted)"
        )
    options = {
        "to": recipients,
        "from": parse_qs(parts.query).get("from", [recipients.split(",")[0]])[0],
        "smtp": parts.hostname,
        "mode": "ssl" if parts.scheme == "smtps" else "starttls",
    }
    netloc = parts.netloc if parts.port else f"{parts.netloc}:{port}"
    apprise_url = f"mailtos://{netloc}?{urlencode(options)}"
    return [AlertChannel("PLATFORM_ALERT_MAIL_URL", SecretStr(apprise_url))]


def check_channels(channels: Sequence[AlertChannel]) -> None:
    """Raise AlertUrlError that names the first channel whose URL Apprise cannot use safely."""
    for channel in channels:
        if problem := _url_problem(channel):
            raise AlertUrlError(f"{channel.name} {problem}")


def send(channels: Sequence[AlertChannel], message: AlertMessage) -> list[Delivery]:
    """Send a message on every channel at the same time; return a result for each.

    A failed attempt is repeated twice, within DEADLINE_SECONDS. A channel that `check_channels`
    rejects gets no message.
    """
    problems = [_url_problem(channel) for channel in channels]
    usable = [channel for channel, problem in zip(channels, problems, strict=True) if not problem]
    outcomes = iter(_notify(usable, message))
    return [
        Delivery(channel, problem or next(outcomes))
        for channel, problem in zip(channels, problems, strict=True)
    ]


def _notify(channels: Sequence[AlertChannel], message: AlertMessage) -> list[str]:
    """Send a message on valid channels; return one problem per channel, "" for a success."""
    if not channels:
        return []
    from apprise import Apprise, NotifyFormat

    payload = {"text": message.text, **message.facts}
    # Apprise itself adds a member of this name with the body.
    payload.pop("message", None)
    services = [_service(channel, payload) for channel in channels]
    notifier = Apprise([service for service in services if service is not None], asset=_asset())
    result = notifier.notify(
        body=message.body,
        title=message.title,
        notify_type=message.severity,
        body_format=NotifyFormat.TEXT,
        log_level=logging.DEBUG,
    )
    return [_problem(outcome) for _, outcome in zip(channels, result.results, strict=True)]


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
    with _warnings() as warnings:
        service = _service(channel)
    from apprise.plugins.email import NotifyEmail

    recipients = _recipients(channel) if channel.is_mail else []
    if service is None:
        return "is not a valid Apprise URL: see https://appriseit.com/services"
    # Apprise ignores an invalid recipient, at most with a warning.
    if warnings or not len(service) or not all("@" in name for name in recipients):
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


def _recipients(channel: AlertChannel) -> list[str]:
    """Return the recipients of a mail URL that names them in its options."""
    options = parse_qsl(urlsplit(channel.url.get_secret_value()).query)
    return [
        name for option, value in options if option == "to" for name in value.split(",") if name
    ]


def _scheme(url: str) -> str:
    return urlsplit(url).scheme


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


class _Recorder(logging.Handler):
    """Collects messages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Yield a list that collects Apprise's warnings within the block."""
    recorder = _Recorder()
    logger = logging.getLogger("apprise")
    logger.addHandler(recorder)
    try:
        yield recorder.messages
    finally:
        logger.removeHandler(recorder)
