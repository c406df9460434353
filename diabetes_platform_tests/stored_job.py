"""A minimal Dagster job that writes an event to Dagster's storage."""

import dagster as dg

MESSAGE = "stored as dagster"


@dg.op
def log_message(context: dg.OpExecutionContext) -> None:
    """Log one line."""
    context.log.info(MESSAGE)


@dg.job
def stored() -> None:
    """Run the op."""
    log_message()
