"""The job's retained checkpoints in the object store: found, and cleared away when outdated."""

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
"""Where no other job writes, so that what lies here is this job's."""
_METADATA = re.compile(rf"{STREAM_JOB}/(?P<job>[0-9a-f]{{32}})/chk-\d+/_metadata")


def retained(s3: S3) -> list[Checkpoint]:
    """Return every completed checkpoint, in no order. Raises PlatformError."""
    found = []
    with _reached(s3) as store:
        for page in obstore.list(store, prefix=STREAM_JOB):
            for each in page:
                match = _METADATA.fullmatch(each["path"])
                if match is not None:
                    url = f"{BUCKET}/{each['path'].removesuffix('/_metadata')}"
                    stamp = each["last_modified"].timestamp()
                    found.append(Checkpoint(stamp, url, match["job"]))
    return found


def clear(s3: S3, job_id: str) -> int:
    """Delete the checkpoints of a job that is gone; return how many objects. PlatformError."""
    with _reached(s3) as store:
        listed = obstore.list(store, prefix=f"{STREAM_JOB}/{job_id}")
        paths = [each["path"] for page in listed for each in page]
        if paths:
            obstore.delete(store, paths)
    return len(paths)


@contextmanager
def _reached(s3: S3) -> Iterator[Any]:
    try:
        with s3.errors(DIRECTORY):
            yield from_url(BUCKET, **s3.for_obstore())
    except (BaseError, RuntimeError, OSError) as error:
        raise PlatformError(f"{DIRECTORY}: {' '.join(str(error).split())[:300]}") from error
