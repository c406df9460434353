"""Whose data a Kafka data directory holds, and making a new one. No broker is started here."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from diabetes_platform.local.errors import PlatformError

_META = "meta.properties"
_ID = "cluster.id"


def prepare(data_dir: Path, format_command: Sequence[str]) -> None:
    """Make sure that `data_dir` holds this platform's cluster; one that is new is formatted.

    The cluster's id is kept beside the directory. `format_command` formats the directory that the
    variable KAFKA_DATA names when a cluster's id is added to it. Raises PlatformError, nothing
    touched, where the directory holds another cluster's data or something else.
    """
    id_file = id_file_of(data_dir)
    known = id_file.read_text(encoding="ascii").strip() if id_file.exists() else None
    found = found_cluster(data_dir)
    problem = cluster_problem(data_dir, id_file, known, found)
    if problem is not None:
        raise PlatformError(problem)
    if found is None:
        if known is None:
            known = new_cluster_id()
            _write(id_file, known)
        _format(data_dir, known, format_command)


def id_file_of(data_dir: Path) -> Path:
    """Return the file that says whose data `data_dir` should hold."""
    return data_dir.with_name(f"{data_dir.name}.cluster-id")


def new_cluster_id() -> str:
    """Return a random id as Kafka writes it: 16 bytes in 22 characters, the first no hyphen."""
    made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
    # Kafka's tools would take a leading hyphen for an option.
    return new_cluster_id() if made.startswith("-") else made


def found_cluster(data_dir: Path) -> str | None:
    """Return the id of the cluster whose data lie in `data_dir`; None where it is new.

    Raises PlatformError for a directory that is neither.
    """
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return None
    meta = data_dir / _META
    found = cluster_id_in(meta.read_text(encoding="utf-8")) if meta.exists() else None
    if found is None:
        raise PlatformError(
            f"{data_dir} is not empty and not a Kafka data directory: move it away to start with "
            "empty topics"
        )
    return found


def cluster_id_in(meta: str) -> str | None:
    """Return the cluster's id in a text in `meta.properties`' format."""
    for line in meta.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == _ID:
            return value.strip() or None
    return None


def cluster_problem(
    data_dir: Path, id_file: Path, known: str | None, found: str | None
) -> str | None:
    """Return why a broker must not start on data of `found`; None where it may."""
    if found is None or found == known:
        return None
    if known is None:
        return (
            f"{data_dir} holds data of Kafka cluster {found}, and {id_file}, which says whose data "
            f"belong there, is missing: if they are this platform's, run `echo {found} > "
            f"{id_file}`; else move {data_dir} away to start with empty topics"
        )
    return (
        f"{data_dir} holds data of Kafka cluster {found}, this platform's cluster is {known} "
        f"({id_file}): put its own data back, or move {data_dir} away to start with empty topics"
    )


def _format(data_dir: Path, cluster: str, format_command: Sequence[str]) -> None:
    """Format beside the place and move it there whole."""
    building = data_dir.with_name(f"{data_dir.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    command = ["env", f"KAFKA_DATA={building}", *format_command, "--cluster-id", cluster]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise PlatformError(f"Kafka could not create {data_dir}: {lines[-1].strip()}")
    if data_dir.exists():
        data_dir.rmdir()
    building.rename(data_dir)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.write_text(f"{text}\n", encoding="ascii")
    new.rename(file)
