"""The stream job's retained checkpoints in the object store: listing and deletion."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.stream_job.decisions import Checkpoint

BUCKET = "s3://checkpoints"
DIRECTORY = f"{BUCKET}/{STREAM_JOB}"
"""Reserved for the stream job."""
_METADATA = re.compile(rf"{STREAM_JOB}/(?P<job>[0-9a-f]{{32}})/chk-\d+/_metadata")


def retained(s3: S3) -> list[Checkpoint]:
    """Return every completed checkpoint, unordered. Raises PlatformError."""
    checkpoints = []
    with _store(s3) as store:
        for page in obstore.list(store, prefix=STREAM_JOB):
            for entry in page:
                match = _METADATA.fullmatch(entry["path"])
                if match is not None:
                    url = f"{BUCKET}/{entry['path'].removesuffix('/_metadata')}"
                    completed = entry["last_modified"].timestamp()
                    checkpoints.append(Checkpoint(completed, url, match["job"]))
    return checkpoints


def delete_checkpoints(s3: S3, job_id: str) -> int:
    """Delete all checkpoints of a job; return the number of objects. Raises PlatformError."""
    with _store(s3) as store:
        listed = obstore.list(store, prefix=f"{STREAM_JOB}/{job_id}")
        paths = [entry["path"] for page in listed for entry in page]
        if paths:
            obstore.delete(store, paths)
    return len(paths)


@contextmanager
def _store(s3: S3) -> Iterator[Any]:
    try:
        with s3.errors(DIRECTORY):
            yield from_url(BUCKET, **s3.for_obstore())
    except (BaseError, RuntimeError, OSError) as error:
        raise PlatformError(f"{DIRECTORY}: {' '.join(str(error).split())[:300]}") from error
