"""The doctor at Dagster: the code location is loaded, the daemon's parts are alive."""

from typing import Any

import httpx

from diabetes_platform.launcher.stack.stack import Stack

_QUERY = """
{
  workspaceOrError {
    __typename
    ... on PythonError { message }
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError {
          __typename
          ... on PythonError { message }
          ... on RepositoryLocation { repositories { name } }
        }
      }
    }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""


def code_location(stack: Stack) -> str:
    """Return what is loaded; raises where the code location or a daemon is not well."""
    answer = _ask(stack)
    workspace = answer["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        raise RuntimeError(workspace["message"])
    names = []
    for entry in workspace["locationEntries"]:
        loaded = entry["locationOrLoadError"]
        if loaded is None or loaded["__typename"] != "RepositoryLocation":
            raise RuntimeError((loaded or {}).get("message", f"{entry['name']} is still loading"))
        names.append(entry["name"])
    statuses = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    ill = [one["daemonType"] for one in statuses if one["required"] and not one["healthy"]]
    if ill:
        raise RuntimeError(f"without a heartbeat: {', '.join(ill)}")
    return f"{', '.join(names)} loaded, {len(statuses)} daemons alive"


def _ask(stack: Stack) -> dict[str, Any]:
    url = f"{stack.settings.dagster}/graphql"
    response = httpx.post(url, json={"query": _QUERY}, timeout=20.0, trust_env=False)
    response.raise_for_status()
    document = response.json()
    if document.get("errors"):
        raise RuntimeError(document["errors"][0]["message"])
    data: dict[str, Any] = document["data"]
    return data
