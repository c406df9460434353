"""Credentials on S3: the user of the standard variables, or the role of the machine."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from minio.credentials import AssumeRoleProvider

from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import ingest
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.lake.conftest import Save
from diabetes_platform_tests.lake.on_s3.conftest import unique
from diabetes_platform_tests.storage import REGION, Storage

pytestmark = pytest.mark.integration

EXISTS = """
from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.settings import PlatformSettings
settings = PlatformSettings()
print(settings.s3.user, Lake("s3://lake", settings.s3).table(RAW_PATIENTS).exists())
"""


def exists(variables: dict[str, str]) -> str:
    """What a process with these variables, and no other of AWS, finds of the raw table."""
    foreign = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-c", EXISTS],
        env=foreign | variables,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_connects_with_the_standard_variables(storage: Storage, lake: Lake, save: Save) -> None:
    ingest(lake, str(save(unique())))
    assert exists(storage.environment("pipeline")) == "pipeline True"


def test_uses_the_machines_role_without_a_user(
    storage: Storage, lake: Lake, save: Save, tmp_path: Path
) -> None:
    ingest(lake, str(save(unique())))
    with role_of(storage, "pipeline") as url:
        token = tmp_path / "token"
        token.write_text("of the pod")
        output = exists(
            {
                "AWS_ENDPOINT_URL": storage.endpoint,
                "AWS_REGION": REGION,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            }
        )
    assert output == "None True"


@contextmanager
def role_of(storage: Storage, user: str) -> Iterator[str]:
    """Serve a session of `user` as a pod's credentials endpoint does; yield its URL."""
    session = AssumeRoleProvider(
        sts_endpoint=storage.endpoint,
        access_key=user,
        secret_key=storage.passwords[user],
        region=REGION,
    ).retrieve()
    answer = {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret_key,
        "Token": session.session_token,
        "Expiration": "2099-01-01T00:00:00Z",
    }

    class Credentials(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Credentials)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/role"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
