"""No TRUNCATE of the intake table.

Change data capture cannot propagate it: the predictions of the removed rows would stay, and with
RESTART IDENTITY they would belong to later patients. DELETE is captured row by row.
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
)


def upgrade() -> None:
    """Create the trigger."""
    for statement in STATEMENTS:
        op.execute(statement)
