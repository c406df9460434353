"""Kafka's data directory: its cluster id, and formatting of a new directory.

`python -m diabetes_platform.local.kafka.data DIR COMMAND…` prepares `DIR` before the broker starts.
The cluster id of this platform is kept in a file beside the directory. A new one is random, or the
value of KAFKA_CLUSTER_ID, which the nodes of a cluster have in common.
"""

import base64
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from diabetes_platform.errors import COULD_NOT_RUN, PlatformError


def prepare(data_dir: Path, format_command: Sequence[str], cluster_id: str | None = None) -> None:
    """Format `data_dir` if it is new, and verify that it belongs to this platform's cluster.

    `format_command` formats the directory in the variable KAFKA_DATA; `--cluster-id` is added to
    it. `cluster_id` is the id of a new cluster. Raises PlatformError, and changes nothing, if the
    directory holds other data.
    """
    id_file = cluster_id_file(data_dir)
    expected = id_file.read_text(encoding="ascii").strip() if id_file.exists() else None
    actual = read_cluster_id(data_dir)
    problem = cluster_problem(data_dir, id_file, expected=expected, actual=actual)
    if problem is not None:
        raise PlatformError(problem)
    if actual is None:
        if expected is None:
            expected = cluster_id or new_cluster_id()
            id_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = id_file.with_name(f"{id_file.name}.new")
            new.write_text(f"{expected}\n", encoding="ascii")
            new.rename(id_file)
        _format(data_dir, expected, format_command)


def cluster_id_file(data_dir: Path) -> Path:
    """Return the file with the id of the cluster that owns `data_dir`."""
    return data_dir.with_name(f"{data_dir.name}.cluster-id")


def new_cluster_id() -> str:
    """Return a random id in Kafka's format: 16 bytes, base64url, 22 characters."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
    # Kafka's tools would parse a leading hyphen as an option.
    return new_cluster_id() if cluster_id.startswith("-") else cluster_id


def read_cluster_id(data_dir: Path) -> str | None:
    """Return the cluster id in `data_dir`, or None if the directory is missing or empty.

    Raises PlatformError if the directory has other contents.
    """
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return None
    meta = data_dir / "meta.properties"
    cluster_id = parse_cluster_id(meta.read_text(encoding="utf-8")) if meta.exists() else None
    if cluster_id is None:
        raise PlatformError(
            f"{data_dir} is not empty and not a Kafka data directory: move it away to start with "
            "empty topics"
        )
    return cluster_id


def parse_cluster_id(meta: str) -> str | None:
    """Return the cluster id from the text of a `meta.properties` file, or None."""
    for line in meta.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "cluster.id":
            return value.strip() or None
    return None


def cluster_problem(
    data_dir: Path, id_file: Path, *, expected: str | None, actual: str | None
) -> str | None:
    """Return why a broker must not start on the data of cluster `actual`, or None if it may."""
    if actual is None or actual == expected:
        return None
    if expected is None:
        return (
            f"{data_dir} holds data of Kafka cluster {actual}, and {id_file} with the id of this "
            f"platform's cluster is missing: if the data are this platform's, run `echo {actual} > "
            f"{id_file}`; else move {data_dir} away to start with empty topics"
        )
    return (
        f"{data_dir} holds data of Kafka cluster {actual}, this platform's cluster is {expected} "
        f"({id_file}): restore this platform's data, or move {data_dir} away to start with "
        "empty topics"
    )


def _format(data_dir: Path, cluster_id: str, format_command: Sequence[str]) -> None:
    """Format a temporary directory and rename it, so that `data_dir` is never incomplete."""
    temporary = data_dir.with_name(f"{data_dir.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    command = ["env", f"KAFKA_DATA={temporary}", *format_command, "--cluster-id", cluster_id]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()
        raise PlatformError(f"Kafka could not create {data_dir}: {lines[-1].strip()}")
    if data_dir.exists():
        data_dir.rmdir()
    temporary.rename(data_dir)


if __name__ == "__main__":
    try:
        identity = os.environ.get("KAFKA_CLUSTER_ID")
        prepare(Path(sys.argv[1]).absolute(), sys.argv[2:], identity)
    except (PlatformError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
