"""A client of Dagster's webserver: GraphQL over HTTP, as its UI uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import httpx

from diabetes_platform.errors import PlatformError
from diabetes_platform.tls import tls

LOCATION = "diabetes_platform"
REPOSITORY = "__repository__"
"""The name that Dagster gives to the repository of `dg.Definitions`."""
_TIMEOUT = 30.0

_LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}
"""
_TERMINATE = """
mutation ($run: String!) {
  terminateRun(runId: $run) {
    __typename
    ... on TerminateRunFailure { message }
    ... on Error { message }
  }
}
"""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A run to launch: a job, all its assets or some, optionally for one partition."""

    job: str
    run_config: Mapping[str, object] = field(default_factory=dict)
    assets: Sequence[dg.AssetKey] | None = None
    partition: str | None = None


class DagsterClient:
    """Calls the webserver at `base_url`; methods raise PlatformError after an error answer."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def query(self, document: str, **variables: object) -> dict[str, Any]:
        """Return the data of the answer to a GraphQL document."""
        url, body = f"{self.base_url}/graphql", {"query": document, "variables": variables}
        try:
            response = httpx.post(url, json=body, timeout=_TIMEOUT, verify=tls(), trust_env=False)
        except httpx.TransportError as error:
            raise PlatformError(
                f"Dagster at {self.base_url} does not answer: see `diabetes status`"
            ) from error
        # A JSON answer with an error has status 500 as well.
        if not response.headers.get("content-type", "").startswith("application/json"):
            raise PlatformError(
                f"Dagster at {self.base_url} answers {response.status_code}: {response.text[:200]}"
            )
        answer = response.json()
        if answer.get("errors"):
            raise PlatformError(f"Dagster answers with an error: {_reason(answer)}")
        data: dict[str, Any] = answer["data"]
        return data

    def launch(self, request: LaunchRequest) -> str:
        """Put a run into the queue and return its id."""
        assets = request.assets
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "jobName": request.job,
            "assetSelection": None if assets is None else [{"path": key.path} for key in assets],
        }
        tags = {} if request.partition is None else {"dagster/partition": request.partition}
        params = {
            "selector": selector,
            "runConfigData": request.run_config,
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        answer = self.query(_LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise PlatformError(f"{request.job} was not launched: {_reason(answer)}")
        run_id: str = answer["run"]["runId"]
        return run_id

    def terminate(self, run_id: str) -> None:
        """Terminate a run, in the queue or in its process."""
        answer = self.query(_TERMINATE, run=run_id)["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise PlatformError(f"run {run_id} was not terminated: {_reason(answer)}")


def _reason(answer: Mapping[str, Any]) -> str:
    messages = [error["message"] for error in answer.get("errors", [])]
    text = messages[0] if messages else answer.get("message") or answer["__typename"]
    return str(text).strip().splitlines()[0]
