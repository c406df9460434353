"""Uids of the operators that SQL creates, so that a changed graph finds its state in a savepoint.

The planner numbers its nodes over the whole program, so an added part of the graph would renumber
all later parts. Here each part has its own numbers.
"""

import re
from collections import Counter
from typing import Any

_NODE_NUMBER = re.compile(r"\[\d+\]")


def set_uids(part: str, transformations: list[Any]) -> None:
    """Set a uid that begins with `part-` on these transformations (Java's) and all their inputs.

    The walk stops at an operator that has a uid: it belongs to another part.
    """
    counts: Counter[str] = Counter()
    pending = list(transformations)
    while pending:
        transformation = pending.pop()
        if transformation.getUid() is not None:
            continue
        name = _NODE_NUMBER.sub("", transformation.getName())
        counts[name] += 1
        transformation.setUid(f"{part}-{name}-{counts[name]}")
        pending.extend(transformation.getInputs())
