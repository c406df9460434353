"""The least job that leaves something in Dagster's storage."""

import dagster as dg

SAID = "stored as dagster"


@dg.op
def say_something(context: dg.OpExecutionContext) -> None:
    """Log one line."""
    context.log.info(SAID)


@dg.job
def stored() -> None:
    """Say it."""
    say_something()
