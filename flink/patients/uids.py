"""Uids of the operators that SQL makes, so that a savepoint's state finds them in a changed graph.

The planner's own name its nodes by one count over the whole program: a part that is added moves
all that come after. Here each part of the graph counts for itself.
"""

import re
from collections import Counter
from typing import Any

_NODE = re.compile(r"\[\d+\]")


def set_uids(part: str, transformations: list[Any]) -> None:
    """Give every operator that `transformations` (Flink's, of Java) end a uid that begins `part-`.

    The way goes against the data and stops at what has one, which belongs to another part.
    """
    seen: Counter[str] = Counter()
    waiting = list(transformations)
    while waiting:
        transformation = waiting.pop()
        if transformation.getUid() is not None:
            continue
        name = _NODE.sub("", transformation.getName())
        seen[name] += 1
        transformation.setUid(f"{part}-{name}-{seen[name]}")
        waiting.extend(transformation.getInputs())
