"""Removes the graph that Flink stored: `NAMESPACE CONFIGMAP`. Runs in the pod of the JobManager."""

import json
import ssl
import sys
from http import HTTPStatus
from http.client import HTTPSConnection
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PREFIX = "executionPlan-"
"""`EXECUTION_PLAN_STORE_KEY_PREFIX` of Flink 2.3."""


def main(namespace: str, name: str) -> None:
    """Send a patch that sets the entries to null."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    entries = call("GET", path).get("data") or {}
    graphs = [entry for entry in entries if entry.startswith(PREFIX)]
    if graphs:
        call("PATCH", path, {"data": dict.fromkeys(graphs)})
    print(f"removed: {', '.join(graphs) or 'nothing'}")


def call(method: str, path: str, body: object = None) -> dict:
    """Return the API server's response, {} if there is no such object; ends with other errors."""
    context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    connection = HTTPSConnection("kubernetes.default.svc", timeout=30, context=context)
    headers = {
        "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
        "Content-Type": "application/merge-patch+json",
    }
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    if response.status == HTTPStatus.NOT_FOUND:
        return {}
    if response.status != HTTPStatus.OK:
        sys.exit(f"{method} {path}: {response.status} {content.decode(errors='replace')}")
    return json.loads(content)


main(*sys.argv[1:])
