"""The health check of Dagster: the code location is loaded and all daemons have a heartbeat."""

from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port

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
    """Return the loaded code locations; raises RuntimeError if one or a daemon is unhealthy."""
    answer = DagsterClient(stack.url(Port.DAGSTER)).query(_QUERY)
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
    unhealthy = [s["daemonType"] for s in statuses if s["required"] and not s["healthy"]]
    if unhealthy:
        raise RuntimeError(f"no heartbeat: {', '.join(unhealthy)}")
    return f"{', '.join(names)} loaded, {len(statuses)} daemons alive"


CHECKS = (
    HealthCheck(
        "dagster",
        "code location, daemons",
        code_location,
        "see `diabetes logs dagster-code` and `diabetes logs dagster-daemon`",
        Port.DAGSTER,
    ),
)
