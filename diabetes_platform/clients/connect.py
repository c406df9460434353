"""Kafka Connect's REST interface, as far as one connector needs it, and what it says of a state."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from diabetes_platform.clients.errors import RefusedError, ServiceError
from diabetes_platform.tls import tls

RUNNING, FAILED = "RUNNING", "FAILED"
NOT_REGISTERED, NO_ANSWER = "not registered", "Kafka Connect does not answer"
_SECONDS = 30.0
"""Connect asks the database before it takes a configuration."""
_REBALANCING_SECONDS = 30.0
_PAUSE = 0.3


@dataclass(frozen=True, slots=True)
class ConnectorState:
    """A connector's and its tasks' states in Connect's words, and the trace of what failed.

    `connector` may be NOT_REGISTERED or NO_ANSWER too.
    """

    connector: str
    tasks: tuple[str, ...] = ()
    trace: str | None = None

    @property
    def running(self) -> bool:
        """Whether it and at least one task run, and no task does not."""
        return self.connector == RUNNING and set(self.tasks) == {RUNNING}

    @property
    def failed(self) -> bool:
        """Whether it or one of its tasks has given up."""
        return FAILED in (self.connector, *self.tasks)

    def __str__(self) -> str:
        if self.connector in (NOT_REGISTERED, NO_ANSWER):
            return self.connector
        return f"{self.connector}, task {', '.join(self.tasks) or 'none'}"


class ConnectApi:
    """Connect's REST interface at `url`; each answer may take `seconds`.

    Raises ServiceError where there is none, and RefusedError with Connect's own message.
    """

    def __init__(self, url: str, seconds: float = _SECONDS) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=seconds, verify=tls(), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def state(self, name: str) -> ConnectorState:
        """Return the connector's state; never raises for one that is not there."""
        answer = self._ask("GET", f"/connectors/{name}/status")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return ConnectorState(NOT_REGISTERED)
        return parse_status(self._taken(answer).json())

    def config(self, name: str) -> dict[str, str] | None:
        """Return the connector's configuration as it was given; None where it is not there."""
        answer = self._ask("GET", f"/connectors/{name}/config")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        config: dict[str, str] = self._taken(answer).json()
        return config

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Register the connector or change it."""
        self._taken(self._ask("PUT", f"/connectors/{name}/config", dict(config)))

    def stop(self, name: str) -> None:
        """End the connector's tasks; its configuration stays."""
        self._taken(self._ask("PUT", f"/connectors/{name}/stop"))

    def resume(self, name: str) -> None:
        """Let a stopped or paused connector go on; does nothing to one that runs."""
        self._taken(self._ask("PUT", f"/connectors/{name}/resume"))

    def restart_failed(self, name: str) -> None:
        """Start again what has failed of the connector and its tasks."""
        only = {"includeTasks": "true", "onlyFailed": "true"}
        self._taken(self._ask("POST", f"/connectors/{name}/restart", params=only))

    def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return the answer, asking again while workers share out their tasks."""
        deadline = time.monotonic() + _REBALANCING_SECONDS
        while True:
            with self._reached():
                answer = self._client.request(method, path, json=body, params=params)
            if answer.status_code != HTTPStatus.CONFLICT or time.monotonic() > deadline:
                return answer
            time.sleep(_PAUSE)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise ServiceError(
                f"Kafka Connect at {self._url} does not answer: see `diabetes logs connect`"
            ) from error

    def _taken(self, answer: httpx.Response) -> httpx.Response:
        if not answer.is_success:
            raise RefusedError(_message(answer))
        return answer


def connector_state(url: str, name: str, seconds: float = _SECONDS) -> ConnectorState:
    """Return the state of a connector of the Connect at `url`, whatever it is."""
    try:
        with ConnectApi(url, seconds) as api:
            return api.state(name)
    except RefusedError as error:
        return ConnectorState(f"unknown ({error})")
    except ServiceError:
        return ConnectorState(NO_ANSWER)


def parse_status(status: Mapping[str, Any]) -> ConnectorState:
    """Return the state in an answer of `GET /connectors/<name>/status`."""
    tasks = status["tasks"]
    traces = [part["trace"] for part in (status["connector"], *tasks) if part.get("trace")]
    return ConnectorState(
        status["connector"]["state"],
        tuple(task["state"] for task in tasks),
        traces[0] if traces else None,
    )


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
