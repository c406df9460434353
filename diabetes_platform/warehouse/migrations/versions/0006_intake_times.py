"""The intake's timestamps lie in the years 1900 to 2199, and its ids are positive.

PostgreSQL also stores 'infinity', BC dates and years from 10000, which most readers cannot
represent; nanosecond timestamps end in 2262. The constraints are NOT VALID: they reject new rows
and do not check existing ones, so that the migration succeeds on every table. docs/operations.md
shows how to find and correct existing rows.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FIRST, END = "TIMESTAMPTZ '1900-01-01 00:00:00+00'", "TIMESTAMPTZ '2200-01-01 00:00:00+00'"
RULES = (
    ("id_allowed", "id > 0"),
    *(
        (f"{column}_allowed", f"{column} >= {FIRST} AND {column} < {END}")
        for column in ("received_at", "outcome_recorded_at")
    ),
)


def upgrade() -> None:
    """Add the constraints."""
    for name, rule in RULES:
        op.execute(
            f"ALTER TABLE public.diabetes_new ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID"
        )
