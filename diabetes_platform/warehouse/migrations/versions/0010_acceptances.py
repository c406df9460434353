"""Failures that an operator accepted, by the source that they were accepted for.

A scheduled run of the same source accepts them again, although its labels make it another batch.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the grants on the tables cover them."""
    op.execute("ALTER TABLE staging.batches ADD COLUMN source_version text")
    op.execute(
        "ALTER TABLE staging.validations ADD COLUMN accepted jsonb NOT NULL DEFAULT '{}'::jsonb"
    )
