"""Explanations of failures of change data capture, each in one line with a remedy.

Pure functions: nothing here contacts a service.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from diabetes_platform.clients.java_traces import failure_reason
from diabetes_platform.contract.topics import CONNECTOR
from diabetes_platform.warehouse.replication import SLOT, Slot

STREAMING = "Debezium Streaming"
"""The application name of Debezium's replication connection."""
_RESTART = "`make down` and `make up` set it up again"
_INVALID_CONFIGURATION = "Connector configuration is invalid"

_ADVICE: Sequence[tuple[str, str]] = (
    (
        r"password authentication failed for user",
        f"PostgreSQL rejects the connector's password: {_RESTART}",
    ),
    (
        r"[Rr]eplication slot .* is active for PID",
        f"the replication slot {SLOT} is held by another program",
    ),
    (
        r"Publication autocreation is disabled|publication .* does not exist",
        f"the publication is missing, which a migration creates: {_RESTART}",
    ),
    (
        r"no longer available on the server|can no longer get changes|WAL segment .* been removed",
        f"the replication slot {SLOT} was lost: docs/operations.md, “A lost replication slot”",
    ),
    (
        r"permission denied for (?:table|schema|database|function)",
        f"the connector's role lacks a privilege, which a migration grants: {_RESTART}",
    ),
    (
        r"permission denied to (?:start WAL sender|use replication slots)|must be superuser",
        f"the connector's role lacks REPLICATION: {_RESTART}",
    ),
    (
        r"relation .* does not exist|[Tt]able .* does not exist",
        "a table of infra/debezium/diabetes-cdc.json does not exist",
    ),
    (
        r"Connection to \S+ refused|connection attempt failed|the database system is",
        "PostgreSQL does not answer: see `diabetes logs postgres`",
    ),
    (
        r"UnknownTopicOrPartition|not present in metadata",
        "a topic of infra/kafka/topics.yaml is missing: see `diabetes logs topics-setup`",
    ),
    (
        r"Could not find variable|No such (?:environment )?variable|\$\{env:",
        "a variable is not set for Connect, or infra/connect/worker.properties does not allow it",
    ),
)


def explain(trace: str | None) -> str:
    """Return the meaning of a task's trace or of Connect's message, in one line with a remedy."""
    cause = root_cause(trace or "")
    for pattern, advice in _ADVICE:
        if re.search(pattern, trace or ""):
            return f"{advice} ({cause})"
    return f"{cause}: see `diabetes logs connect`"


def root_cause(message: str) -> str:
    """Return the innermost cause of a Java trace, or Connect's reason to reject a configuration."""
    lines = message.splitlines()
    if message.startswith(_INVALID_CONFIGURATION) and len(lines) > 1:
        # The errors follow that line; the last line refers to a REST endpoint.
        reason = lines[1]
    else:
        reason = failure_reason(message)
    return re.sub(r"^(?:[\w$]+\.)+[\w$]+: ", "", reason).strip()


def table_problem(
    config: Mapping[str, str], existing: Mapping[str, bool], published: Sequence[str]
) -> str | None:
    """Return why a table of the configuration is not captured, or None if all tables are.

    Debezium would run without an error. `existing` says for each `schema.table` whether the
    connector's role may read it; `published` are the tables of the publication.
    """
    for entry in config["table.include.list"].split(","):
        pattern = entry.strip()
        tables = _matching(pattern, existing)
        if not tables:
            return (
                f"{CONNECTOR}: table {pattern} in table.include.list of infra/debezium/"
                f"{CONNECTOR}.json does not exist; published tables: "
                f"{', '.join(published) or 'none'}"
            )
        for name in tables:
            if name not in published:
                return (
                    f"{CONNECTOR}: table {name} is not in the publication "
                    f"{config['publication.name']}, which a migration creates, so its changes "
                    f"would be missing; the publication has {', '.join(published) or 'no table'}"
                )
            if not existing[name]:
                return (
                    f"{CONNECTOR}: role {config['database.user']} may not read table {name}, which "
                    f"a migration grants: {_RESTART}"
                )
    return None


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Match like Debezium: a case-insensitive regular expression for the whole name."""
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error:
        return []
    return [name for name in names if compiled.fullmatch(name)]


def reader_problem(slot: Slot | None) -> str | None:
    """Return which other program reads the slot, or None if only Debezium or nobody does."""
    if slot is None or slot.held_by is None or slot.holder == STREAMING:
        return None
    return (
        f"replication slot {SLOT} is held by {slot.held_by}: stop that program; the connector "
        "retries automatically"
    )
