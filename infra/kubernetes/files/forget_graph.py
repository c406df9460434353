"""Removes the graph that Flink stored: `NAMESPACE CONFIGMAP`. Runs in the pod of the JobManager."""

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PREFIXES = ("executionPlan-", "jobGraph-")
"""The names of Flink 2 and of Flink 1."""


def main(namespace: str, name: str) -> None:
    """Send a patch that sets the entries to null."""
    url = f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/configmaps/{name}"
    try:
        entries = call(url, "GET").get("data") or {}
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        print("no job ran before")
        return
    graphs = [entry for entry in entries if entry.startswith(PREFIXES)]
    if graphs:
        call(url, "PATCH", {"data": dict.fromkeys(graphs)})
    print(f"removed: {', '.join(graphs) or 'nothing'}")


def call(url: str, method: str, body: object = None) -> dict:
    """Return the API server's response; raises urllib.error.HTTPError."""
    headers = {
        "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
        "Content-Type": "application/merge-patch+json",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    with urllib.request.urlopen(request, timeout=30, context=context) as response:
        return json.load(response)


main(*sys.argv[1:])
