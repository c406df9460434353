"""The Kafka Connect REST client, limited to what one connector needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from diabetes_platform.clients.errors import ServiceError, ServiceResponseError
from diabetes_platform.polling import wait_until
from diabetes_platform.tls import tls

RUNNING, FAILED, STOPPED = "RUNNING", "FAILED", "STOPPED"
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


@dataclass(frozen=True, slots=True)
class ConnectApi:
    """Connect's REST API at `url`, with a timeout of `seconds` per request.

    Methods raise ServiceError if Connect does not answer, and ServiceResponseError with Connect's
    own message if it answers with an error.
    """

    url: str
    seconds: float = _SECONDS

    def state(self, name: str) -> ConnectorState:
        """Return the connector's state, NOT_REGISTERED if Connect has no such connector."""
        status = self._get(f"/connectors/{name}/status")
        return ConnectorState(NOT_REGISTERED) if status is None else parse_status(status)

    def config(self, name: str) -> dict[str, str] | None:
        """Return the connector's configuration; None if Connect has no such connector."""
        config: dict[str, str] | None = self._get(f"/connectors/{name}/config")
        return config

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Register the connector or change its configuration."""
        _check(self._send("PUT", f"/connectors/{name}/config", dict(config)))

    def create_stopped(self, name: str, config: Mapping[str, str]) -> None:
        """Register a new connector without starting it."""
        body = {"name": name, "config": dict(config), "initial_state": STOPPED}
        _check(self._send("POST", "/connectors", body))

    def offset_lsn(self, name: str) -> int | None:
        """Return the log sequence number in the connector's stored offset; None without one."""
        offsets = self._get(f"/connectors/{name}/offsets")
        return None if offsets is None else parse_offset_lsn(offsets)

    def delete_offsets(self, name: str) -> None:
        """Delete the stored offsets of a stopped connector."""
        _check(self._send("DELETE", f"/connectors/{name}/offsets"))

    def stop(self, name: str) -> None:
        """Stop the connector's tasks and keep its configuration."""
        _check(self._send("PUT", f"/connectors/{name}/stop"))

    def resume(self, name: str) -> None:
        """Resume a stopped or paused connector; a running one is not affected."""
        _check(self._send("PUT", f"/connectors/{name}/resume"))

    def restart_failed(self, name: str) -> None:
        """Restart the connector and its tasks, as far as they have failed."""
        _check(self._send("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true"))

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        response = self._send("GET", path)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        try:
            return _check(response).json()
        except ValueError as error:
            raise ServiceResponseError(f"{self.url} answers without JSON") from error

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Return the response; repeat the request while Connect rebalances its tasks (409)."""

        def send() -> httpx.Response:
            response = httpx.request(
                method,
                self.url + path,
                json=body,
                timeout=self.seconds,
                verify=tls(),
                trust_env=False,
            )
            if response.status_code == HTTPStatus.CONFLICT:
                raise _RebalanceError(_error_message(response))
            return response

        try:
            return wait_until(
                send,
                timeout=_REBALANCE_SECONDS,
                interval=_REBALANCE_INTERVAL,
                retry_on=(_RebalanceError,),
            )
        except httpx.TransportError as error:
            raise ServiceError(
                f"Kafka Connect at {self.url} does not answer: see `diabetes logs connect`"
            ) from error


class _RebalanceError(ServiceResponseError):
    """Connect rebalances its tasks and accepts no request."""


def connector_state(url: str, name: str, seconds: float = _SECONDS) -> ConnectorState:
    """Return the state of a connector from Connect at `url`; never raises ServiceError."""
    try:
        return ConnectApi(url, seconds).state(name)
    except ServiceResponseError as error:
        return ConnectorState(f"unknown ({error})")
    except ServiceError:
        return ConnectorState(NO_ANSWER)


def parse_status(status: Mapping[str, Any]) -> ConnectorState:
    """Return the state in a response of `GET /connectors/<name>/status`."""
    connector, tasks = status["connector"], status["tasks"]
    traces = [part["trace"] for part in (connector, *tasks) if part.get("trace")]
    return ConnectorState(
        connector["state"], tuple(task["state"] for task in tasks), traces[0] if traces else None
    )


def parse_offset_lsn(offsets: Mapping[str, Any]) -> int | None:
    """Return the LSN in a response of `GET /connectors/<name>/offsets`; None without one."""
    stored = (entry.get("offset") or {} for entry in offsets.get("offsets", ()))
    return max((offset["lsn"] for offset in stored if type(offset.get("lsn")) is int), default=None)


def _check(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        raise ServiceResponseError(_error_message(response))
    return response


def _error_message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
