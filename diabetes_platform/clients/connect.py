"""The Kafka Connect REST client, limited to what one connector needs."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from diabetes_platform.clients.errors import ServiceError, ServiceResponseError
from diabetes_platform.polling import wait_until
from diabetes_platform.tls import tls

RUNNING, FAILED = "RUNNING", "FAILED"
NOT_REGISTERED, NO_ANSWER = "not registered", "Kafka Connect does not answer"
_SECONDS = 30.0
"""Connect queries the database before it accepts a configuration."""
_REBALANCE_SECONDS = 30.0
_REBALANCE_INTERVAL = 0.3


@dataclass(frozen=True, slots=True)
class ConnectorState:
    """The states of a connector and its tasks by Connect's names, and the first stack trace.

    `connector` may also be NOT_REGISTERED or NO_ANSWER.
    """

    connector: str
    tasks: tuple[str, ...] = ()
    trace: str | None = None

    @property
    def running(self) -> bool:
        """Whether the connector, at least one task and every task run."""
        return self.connector == RUNNING and set(self.tasks) == {RUNNING}

    @property
    def failed(self) -> bool:
        """Whether the connector or one of its tasks has failed."""
        return FAILED in (self.connector, *self.tasks)

    def __str__(self) -> str:
        if self.connector in (NOT_REGISTERED, NO_ANSWER):
            return self.connector
        return f"{self.connector}, task {', '.join(self.tasks) or 'none'}"


class ConnectApi:
    """Connect's REST API at `url`, with a timeout of `seconds` per request.

    Methods raise ServiceError if Connect does not answer, and ServiceResponseError with Connect's
    own message if it answers with an error.
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
        """Return the connector's state, NOT_REGISTERED if Connect has no such connector."""
        response = self._request("GET", f"/connectors/{name}/status")
        if response.status_code == HTTPStatus.NOT_FOUND:
            return ConnectorState(NOT_REGISTERED)
        return parse_status(_check(response).json())

    def config(self, name: str) -> dict[str, str] | None:
        """Return the connector's configuration; None if Connect has no such connector."""
        response = self._request("GET", f"/connectors/{name}/config")
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        config: dict[str, str] = _check(response).json()
        return config

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Register the connector or change its configuration."""
        _check(self._request("PUT", f"/connectors/{name}/config", dict(config)))

    def stop(self, name: str) -> None:
        """Stop the connector's tasks and keep its configuration."""
        _check(self._request("PUT", f"/connectors/{name}/stop"))

    def resume(self, name: str) -> None:
        """Resume a stopped or paused connector; a running one is not affected."""
        _check(self._request("PUT", f"/connectors/{name}/resume"))

    def restart_failed(self, name: str) -> None:
        """Restart the connector and its tasks, as far as they have failed."""
        params = {"includeTasks": "true", "onlyFailed": "true"}
        _check(self._request("POST", f"/connectors/{name}/restart", params=params))

    def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return the response; repeat the request while Connect rebalances its tasks (409)."""
        responses: list[httpx.Response] = []

        def send() -> bool:
            responses.append(self._send(method, path, body, params))
            return responses[-1].status_code != HTTPStatus.CONFLICT

        with contextlib.suppress(TimeoutError):
            wait_until(send, timeout=_REBALANCE_SECONDS, interval=_REBALANCE_INTERVAL)
        return responses[-1]

    def _send(
        self, method: str, path: str, body: object, params: Mapping[str, str] | None
    ) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body, params=params)
        except httpx.TransportError as error:
            raise ServiceError(
                f"Kafka Connect at {self._url} does not answer: see `diabetes logs connect`"
            ) from error


def connector_state(url: str, name: str, seconds: float = _SECONDS) -> ConnectorState:
    """Return the state of a connector from Connect at `url`; never raises ServiceError."""
    try:
        with ConnectApi(url, seconds) as api:
            return api.state(name)
    except ServiceResponseError as error:
        return ConnectorState(f"unknown ({error})")
    except ServiceError:
        return ConnectorState(NO_ANSWER)


def parse_status(status: Mapping[str, Any]) -> ConnectorState:
    """Return the state in a response of `GET /connectors/<name>/status`."""
    connector, tasks = status["connector"], status["tasks"]
    traces = [part["trace"] for part in (connector, *tasks) if part.get("trace")]
    return ConnectorState(
        connector["state"],
        tuple(task["state"] for task in tasks),
        traces[0] if traces else None,
    )


def _check(response: httpx.Response) -> httpx.Response:
    """Return a successful response; ServiceResponseError for any other."""
    if not response.is_success:
        raise ServiceResponseError(_error_message(response))
    return response


def _error_message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
