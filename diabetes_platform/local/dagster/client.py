"""The running Dagster as the command line calls it: GraphQL over HTTP, as its UI does."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import httpx

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.tls import tls

LOCATION = "diabetes_platform"
REPOSITORY = "__repository__"
"""Dagster's own name for what `dg.Definitions` hold."""
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


class DagsterClient:
    """Asks the webserver at `base_url`; every method raises PlatformError where it refuses."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def ask(self, document: str, **variables: object) -> dict[str, Any]:
        """Return the data that answer a GraphQL document."""
        body = {"query": document, "variables": variables}
        try:
            response = httpx.post(
                f"{self.base_url}/graphql",
                json=body,
                timeout=_TIMEOUT,
                verify=tls(),
                trust_env=False,
            )
        except httpx.TransportError as error:
            raise PlatformError(
                f"Dagster at {self.base_url} does not answer: see `diabetes status`"
            ) from error
        # With an error inside, a whole answer comes as 500 too.
        if not response.headers.get("content-type", "").startswith("application/json"):
            raise PlatformError(
                f"Dagster at {self.base_url} answers {response.status_code}: {response.text[:200]}"
            )
        answer = response.json()
        if answer.get("errors"):
            raise PlatformError(f"Dagster refuses: {_reason(answer)}")
        data: dict[str, Any] = answer["data"]
        return data

    def launch(
        self,
        job: str,
        *,
        run_config: Mapping[str, object] | None = None,
        assets: Sequence[dg.AssetKey] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Put a run of `job`, or of these assets of it, into the queue and return its id."""
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "jobName": job,
            "assetSelection": None if assets is None else [{"path": key.path} for key in assets],
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]}
        params = {
            "selector": selector,
            "runConfigData": run_config or {},
            "executionMetadata": metadata,
        }
        answer = self.ask(_LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise PlatformError(f"{job} was not launched: {_reason(answer)}")
        run_id: str = answer["run"]["runId"]
        return run_id

    def terminate(self, run_id: str) -> None:
        """Ask a run to end, wherever it is: in the queue or in its own process."""
        answer = self.ask(_TERMINATE, run=run_id)["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise PlatformError(f"run {run_id} was not ended: {_reason(answer)}")


def _reason(answer: Mapping[str, Any]) -> str:
    messages = [error["message"] for error in answer.get("errors", [])]
    text = messages[0] if messages else answer.get("message") or answer["__typename"]
    return str(text).strip().splitlines()[0]
