"""What the predictor says of itself while it works; written by one thread, read by others."""

from dataclasses import dataclass


@dataclass(slots=True)
class State:
    """`joined`: a member of the group. `problem`: what is waited for, None where all is well.

    `checked`: the database has answered once.
    """

    joined: bool = False
    partitions: int = 0
    checked: bool = False
    problem: str | None = None
