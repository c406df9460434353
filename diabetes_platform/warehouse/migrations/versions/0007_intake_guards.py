"""No TRUNCATE of the intake table, and no time in it that lies in the future.

Change data capture cannot propagate TRUNCATE: the predictions of the removed rows would stay, and
with RESTART IDENTITY they would belong to later patients. DELETE is captured row by row.

Readers recognise the predictions of a row by their changes, which are not older than the row. So a
row is never received, nor its outcome recorded, after the change that stores it: a time of the next
five minutes, from a client whose clock is ahead, becomes the transaction's time, and a later one is
rejected. Existing rows stay as they are, and times from 2200 on are rejected by revision 0006.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE FUNCTION public.refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table %.% cannot be truncated: change data capture would miss it',
        TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Use DELETE, which removes the predictions of the patients too.';
END
$$
""",
    """
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.diabetes_new
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_truncate()
""",
    # Also in sessions that replicate, in which ordinary triggers do not fire.
    "ALTER TABLE public.diabetes_new ENABLE ALWAYS TRIGGER refuse_truncate",
    """
CREATE FUNCTION public.refuse_future_times() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tolerated CONSTANT timestamptz := clock_timestamp() + interval '5 minutes';
    excluded CONSTANT timestamptz := '2200-01-01 00:00:00+00';
BEGIN
    IF NEW.received_at > tolerated AND NEW.received_at < excluded
        OR NEW.outcome_recorded_at > tolerated AND NEW.outcome_recorded_at < excluded
    THEN
        RAISE EXCEPTION 'received_at or outcome_recorded_at of patient % lies in the future', NEW.id
            USING ERRCODE = 'check_violation',
                DETAIL = format('%s, %s', NEW.received_at, NEW.outcome_recorded_at),
                HINT = 'Check the clock of the machine that sends it.';
    END IF;
    IF NEW.received_at > now() AND NEW.received_at <= tolerated THEN
        NEW.received_at := now();
    END IF;
    IF NEW.outcome_recorded_at > now() AND NEW.outcome_recorded_at <= tolerated THEN
        NEW.outcome_recorded_at := now();
    END IF;
    RETURN NEW;
END
$$
""",
    """
CREATE TRIGGER refuse_future_times
    BEFORE INSERT OR UPDATE OF received_at, outcome_recorded_at ON public.diabetes_new
    FOR EACH ROW WHEN (NEW.received_at > now() OR NEW.outcome_recorded_at > now())
    EXECUTE FUNCTION public.refuse_future_times()
""",
)


def upgrade() -> None:
    """Create the triggers."""
    for statement in STATEMENTS:
        op.execute(statement)
