"""The lake on a real S3 endpoint: the same code, nothing lost, refusals told in one line."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from minio.credentials import AssumeRoleProvider

from diabetes_platform.contract.fields import FIELD_NAMES
from diabetes_platform.contract.s3 import (
    S3,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)
from diabetes_platform.contract.tables import RAW_PATIENTS, TRAINING_SET
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform.lake.raw import RawBatch, ingest
from diabetes_platform.lake.sources import SourceError
from diabetes_platform.lake.tables import Lake
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.lake.conftest import Save
from diabetes_platform_tests.storage import REGION, ROOT, Storage

pytestmark = pytest.mark.integration

HEADER = ",".join(FIELD_NAMES)
WRITERS, COMMITS = 8, 50


@pytest.fixture
def lake(storage: Storage) -> Lake:
    """The platform's own lake, as the pipeline reaches it."""
    return Lake("s3://lake", storage.s3("pipeline"))


@pytest.fixture
def elsewhere(lake: Lake) -> Lake:
    """A lake of the test's own below a prefix where every object is written once."""
    return dataclasses.replace(lake, root=f"s3://lake/raw/{uuid4().hex}")


def unique(rows: int = 1) -> str:
    """A source whose content no other test brings."""
    return f"{HEADER}\n" + f"{uuid4().int},148,72,35,0,33.6,0.627,50,1\n" * rows


def test_a_source_is_brought_once(lake: Lake, save: Save) -> None:
    source = str(save(unique(rows=3)))
    first, again = ingest(lake, source), ingest(lake, source)
    assert (first.added, first.rows) == (True, 3)
    assert (again.added, again.rows) == (False, 3)


def test_a_source_may_lie_on_s3(lake: Lake, storage: Storage) -> None:
    content = unique(rows=2).encode()
    key = f"incoming/{uuid4().hex}.csv"
    storage.client(ROOT).put_object("lake", key, BytesIO(content), len(content))
    batch = ingest(lake, f"s3://lake/{key}")
    assert (batch.source, batch.rows) == (f"s3://lake/{key}", 2)


def test_a_snapshot_of_the_same_content_adds_no_version(elsewhere: Lake) -> None:
    rows = pa.table({"glucose": [148.0]})
    versions = [
        elsewhere.snapshot(TRAINING_SET, rows, content_hash) for content_hash in ("a", "a", "b")
    ]
    assert versions == [(0, True), (0, False), (1, True)]


def test_checkpoints_of_a_table_that_is_written_once_are_replaced(
    elsewhere: Lake, save: Save
) -> None:
    for number in range(1, 4):
        assert ingest(elsewhere, str(save(unique()))).delta_version == number
        elsewhere.table(RAW_PATIENTS).open().create_checkpoint()
    assert elsewhere.table(RAW_PATIENTS).open().to_pyarrow_table().num_rows == 3


def ingest_in_process(lake: Lake, source: str) -> RawBatch:
    return ingest(lake, source)


def test_processes_that_bring_the_same_content_at_once_add_it_once(
    elsewhere: Lake, tmp_path: Path
) -> None:
    sources = []
    for rows in (1, 2, 3):
        sources.append(str(tmp_path / f"{rows}.csv"))
        Path(sources[-1]).write_text(unique(rows))
    with processes(4) as pool:
        batches = list(pool.map(ingest_in_process, [elsewhere] * 12, sources * 4))
    assert sum(batch.added for batch in batches) == 3
    assert [batch.rows for batch in batches] == [1, 2, 3] * 4
    assert elsewhere.table(RAW_PATIENTS).open().to_pyarrow_table().num_rows == 6


def commit_often(table: DeltaPath, writer: int) -> None:
    opened = table.open()
    for number in range(COMMITS):
        rows = pa.table({"writer": [writer], "number": [number]})
        write_deltalake(
            opened,
            rows,
            mode="append",
            commit_properties=CommitProperties(max_commit_retries=WRITERS * COMMITS),
        )


@pytest.mark.slow
def test_concurrent_commits_lose_nothing(lake: Lake) -> None:
    table = DeltaPath(f"s3://lake/features/{uuid4().hex}", lake.s3)
    schema = pa.schema([("writer", pa.int64()), ("number", pa.int64())])
    DeltaTable.create(table.path, schema, storage_options=table.storage_options)

    with processes(WRITERS) as pool:
        list(pool.map(commit_often, [table] * WRITERS, range(WRITERS)))

    written = table.open()
    rows = written.to_pyarrow_table().to_pylist()
    everything = {(writer, number) for writer in range(WRITERS) for number in range(COMMITS)}
    assert len(rows) == len(everything)
    assert {(row["writer"], row["number"]) for row in rows} == everything
    assert written.version() == len(everything)


def stranger(s3: S3) -> S3:
    return dataclasses.replace(s3, user="nobody")


def wrong_secret(s3: S3) -> S3:
    return dataclasses.replace(s3, secret="T0SECRET")


def half_a_credential(s3: S3) -> S3:
    return dataclasses.replace(s3, secret=None)


def nobody_there(s3: S3) -> S3:
    return dataclasses.replace(s3, endpoint="http://127.0.0.1:9")


def itself(s3: S3) -> S3:
    return s3


REFUSALS: list[tuple[Callable[[S3], S3], str, type[StorageError], str]] = [
    (stranger, "s3://lake", StorageRefusedError, "no user nobody: check AWS_ACCESS_KEY_ID"),
    (wrong_secret, "s3://lake", StorageRefusedError, "not that of user pipeline"),
    (half_a_credential, "s3://lake", StorageRefusedError, "allowed both or none"),
    (itself, "s3://nowhere", StorageRefusedError, "bucket nowhere, or there is no such bucket"),
    (nobody_there, "s3://lake", StorageUnavailableError, "the endpoint does not answer"),
]


@pytest.mark.parametrize(
    ("change", "root", "kind", "told"),
    REFUSALS,
    ids=[f"{case[0].__name__} {case[1]}" for case in REFUSALS],
)
def test_storage_that_cannot_be_used_is_told_at_once_in_one_line(
    storage: Storage,
    save: Save,
    change: Callable[[S3], S3],
    root: str,
    kind: type[StorageError],
    told: str,
) -> None:
    lake = Lake(root, change(storage.s3("pipeline")))
    source, table = str(save(unique())), lake.table(RAW_PATIENTS)
    rows = pa.table({"glucose": [148.0]})
    began = time.monotonic()
    for attempt in (
        table.exists,
        table.version,
        lambda: table.create(RAW_PATIENTS),
        lambda: ingest(lake, source),
        lambda: lake.count(RAW_PATIENTS, {}),
        lambda: lake.snapshot(TRAINING_SET, rows, "a"),
        lambda: ingest(Lake(str(Path(source).parent), lake.s3), f"{root}/incoming/a.csv"),
    ):
        with pytest.raises(kind) as raised:
            attempt()
        message = str(raised.value)
        assert message.startswith(root)
        assert f" at {lake.s3.endpoint}: " in message
        assert told in message
        assert "\n" not in message
        assert "T0SECRET" not in message
        assert storage.passwords["pipeline"] not in message
    assert time.monotonic() - began < 60


def test_a_bucket_that_is_not_there_is_told_to_whom_may_know(storage: Storage) -> None:
    lake = Lake("s3://nowhere", storage.s3(ROOT))
    with pytest.raises(StorageRefusedError, match=r"there is no bucket nowhere \(NoSuchBucket\)"):
        lake.table(RAW_PATIENTS).open()


def test_a_right_that_is_missing_is_told(storage: Storage) -> None:
    table = Lake("s3://lake/not-granted", storage.s3("spark")).table(TRAINING_SET)
    with pytest.raises(StorageRefusedError, match="user spark may not do this in bucket lake"):
        table.create(TRAINING_SET)


def test_a_source_that_is_not_there_is_refused(lake: Lake) -> None:
    with pytest.raises(SourceError, match=r"s3://lake/incoming/absent\.csv: cannot be read"):
        ingest(lake, "s3://lake/incoming/absent.csv")


EXISTS = """
from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake.tables import Lake
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


def test_the_standard_variables_are_enough(storage: Storage, lake: Lake, save: Save) -> None:
    ingest(lake, str(save(unique())))
    assert exists(storage.environment("pipeline")) == "pipeline True"


def test_without_a_user_the_role_of_the_machine_is_taken(
    storage: Storage, lake: Lake, save: Save, tmp_path: Path
) -> None:
    ingest(lake, str(save(unique())))
    with role_of(storage, "pipeline") as url:
        token = tmp_path / "token"
        token.write_text("of the pod")
        found = exists(
            {
                "AWS_ENDPOINT_URL": storage.endpoint,
                "AWS_REGION": REGION,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            }
        )
    assert found == "None True"


@contextmanager
def processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that have loaded their libraries before they are forked."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["diabetes_platform.lake.raw"])
    with ProcessPoolExecutor(number, mp_context=context) as pool:
        yield pool


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
