"""What a table's log says of its versions: when each was written, and what its writer told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from diabetes_platform.lake.delta import MAINTENANCE, DeltaPath, LakeError


@dataclass(frozen=True, slots=True)
class Commit:
    """A version that changed rows; `told` holds all that stands in its commit."""

    version: int
    written_at: datetime
    told: Mapping[str, Any]


def commits(target: DeltaPath) -> list[Commit]:
    """Return the versions that changed rows, newest first; LakeError names a path without one.

    Raises StorageError.
    """
    table = target.open()
    with target.s3.errors(target.path):
        history = table.history()
    return [
        Commit(int(each["version"]), datetime.fromtimestamp(each["timestamp"] / 1000, tz=UTC), each)
        for each in history
        if each["operation"] not in MAINTENANCE
    ]


def commit_at(target: DeltaPath, moment: datetime) -> Commit:
    """Return the newest version that was there at `moment`, by the clock of its writer.

    Raises LakeError where there was none, and ValueError for a moment without a time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"time: given {moment.isoformat()} without a zone, allowed one with it")
    known = commits(target)
    found = next((each for each in known if each.written_at <= moment), None)
    if found is None:
        first = known[-1].written_at if known else None
        since = f"{first:%Y-%m-%dT%H:%M:%S.%fZ} or later" if first else "a table with rows"
        raise LakeError(f"{target.path}: given {moment.isoformat()}, allowed {since}")
    return found
