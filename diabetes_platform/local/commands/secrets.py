"""`diabetes secrets`: the private variables of each process, for compose and for Kubernetes.

The passwords are generated once and kept in the home, so that the command can be repeated.
"""

import base64
import json

import yaml
from rich.console import Console

from diabetes_platform.local.home import make_private
from diabetes_platform.local.postgres.connection import superuser_password
from diabetes_platform.local.secrets import POSTGRES
from diabetes_platform.local.services import process_environments, write_environments
from diabetes_platform.local.targets import compose_stack, kubernetes_stack
from diabetes_platform.settings import PlatformSettings

DOCTOR = "doctor"
"""The process that checks a release; it needs every password."""


def write_compose_secrets(settings: PlatformSettings, console: Console) -> None:
    """Write one file per process, which compose mounts as a secret."""
    stack = compose_stack(settings)
    make_private(stack.layout.home)
    files = write_environments(stack)
    for file in files:
        # Only the owner may enter the directory. A container reads a mounted file as another user.
        file.chmod(0o444)
    console.print(f"{len(files)} files in {stack.environments}", soft_wrap=True, highlight=False)


def kubernetes_secrets(
    settings: PlatformSettings, release: str, *, storage_url: str | None = None
) -> str:
    """Return the Secrets of a release as YAML: one per process, `<release>-<process>`."""
    stack = kubernetes_stack(settings, release, storage_url=storage_url)
    make_private(stack.layout.home)
    content = {name: dict(values) for name, values in process_environments(stack).items()}
    # The password of a superuser that was set by hand is not among the generated ones.
    passwords = {**stack.secrets.values, POSTGRES: superuser_password(stack)}
    content[DOCTOR] = {"PLATFORM_SECRETS": json.dumps(passwords)}
    manifests = [_secret(release, process, values) for process, values in content.items()]
    return yaml.safe_dump_all(manifests, sort_keys=False)


def _secret(release: str, process: str, values: dict[str, str]) -> dict[str, object]:
    labels = {
        "app.kubernetes.io/part-of": "diabetes-platform",
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/component": process,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{release}-{process}", "labels": labels},
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }
