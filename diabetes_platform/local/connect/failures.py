"""Why changes are not captured, in one line with what to do. Pure: no service is asked here."""

import re
from collections.abc import Iterable, Mapping, Sequence

from diabetes_platform.contract.events import CONNECTOR
from diabetes_platform.local.jvm import innermost_cause
from diabetes_platform.warehouse.replication import SLOT, Slot

STREAMING = "Debezium Streaming"
"""The name with which Debezium reads a slot."""
_SET_UP_AGAIN = "`make down` and `make up` set it up again"
_NOTHING_SAID = "it said nothing"
_REFUSAL = "Connector configuration is invalid"

_ADVICE: Sequence[tuple[str, str]] = (
    (
        r"password authentication failed for user",
        f"PostgreSQL does not take the connector's password: {_SET_UP_AGAIN}",
    ),
    (
        r"[Rr]eplication slot .* is active for PID",
        f"the replication slot {SLOT} is held by another program",
    ),
    (
        r"Publication autocreation is disabled|publication .* does not exist",
        f"the publication is missing, which a migration makes: {_SET_UP_AGAIN}",
    ),
    (
        r"no longer available on the server|can no longer get changes|WAL segment .* been removed",
        f"the replication slot {SLOT} was given up: docs/operations.md, “A lost replication slot”",
    ),
    (
        r"permission denied for (?:table|schema|database|function)",
        f"the role of the connector lacks a right, which a migration grants: {_SET_UP_AGAIN}",
    ),
    (
        r"permission denied to (?:start WAL sender|use replication slots)|must be superuser",
        f"the role of the connector may not replicate: {_SET_UP_AGAIN}",
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
        "a topic is missing of infra/kafka/topics.yaml: see `diabetes logs topics-setup`",
    ),
    (
        r"Could not find variable|No such (?:environment )?variable|\$\{env:",
        "a variable that Connect was not given, or that infra/connect/worker.properties forbids",
    ),
)


def explain(trace: str | None) -> str:
    """Return what a task's trace or Connect's message means, in one line with what to do."""
    said = root_cause(trace or "")
    for pattern, advice in _ADVICE:
        if re.search(pattern, trace or ""):
            return f"{advice} ({said})"
    return f"{said}: see `diabetes logs connect`"


def root_cause(said: str) -> str:
    """Return the message of a Java trace's innermost cause, or the reason in Connect's refusal."""
    # Frames are indented; what is left are exceptions, or the lines of a refusal.
    spoken = [line for line in said.splitlines() if line.strip() and not line[0].isspace()]
    if not spoken:
        return _NOTHING_SAID
    innermost = innermost_cause(said) or spoken[-1]
    if spoken[0].startswith(_REFUSAL):
        # Its errors stand between that line and one that says where else they can be found.
        innermost = (spoken[1:2] or spoken)[0]
    return re.sub(r"^(?:[\w$]+\.)+[\w$]+: ", "", innermost).strip()


def table_problem(
    config: Mapping[str, str], existing: Mapping[str, bool], published: Sequence[str]
) -> str | None:
    """Return why a table that the connector should watch is not watched; None where all are.

    Debezium itself is said to run then. `existing` says of each `schema.table` whether the
    connector's role may read it, `published` names those in the publication.
    """
    for given in config["table.include.list"].split(","):
        found = _matching(given.strip(), existing)
        if not found:
            return (
                f"{CONNECTOR}: table {given.strip()} does not exist: given in table.include.list "
                f"of infra/debezium/{CONNECTOR}.json, allowed what is published: "
                f"{', '.join(published) or 'nothing'}"
            )
        for name in found:
            if name not in published:
                return (
                    f"{CONNECTOR}: table {name} is not in the publication "
                    f"{config['publication.name']}, which a migration makes, so its changes would "
                    f"never come; it has {', '.join(published) or 'no table'}"
                )
            if not existing[name]:
                return (
                    f"{CONNECTOR}: role {config['database.user']} may not read table {name}, which "
                    f"a migration grants: {_SET_UP_AGAIN}"
                )
    return None


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """As Debezium does it: a regular expression for the whole name, in any case."""
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error:
        return []
    return [name for name in names if compiled.fullmatch(name)]


def reader_problem(slot: Slot | None) -> str | None:
    """Return who reads the slot in the connector's place; None where nobody or Debezium does."""
    if slot is None or slot.held_by is None or slot.holder == STREAMING:
        return None
    return (
        f"replication slot {SLOT} is held by {slot.held_by}: stop that program; the connector "
        "tries again by itself"
    )
