"""The time of the stream's verdict on a change, and deletion of a deleted patient's predictions.

Reading the newest prediction of an intake needs no further index: the primary key begins with
`intake_id, source_lsn`.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The time of earlier rows is unknown; it was between their capture and their arrival.
JUDGED_AT = (
    "ALTER TABLE serving.predictions ADD COLUMN judged_at timestamptz",
    "UPDATE serving.predictions SET judged_at = captured_at",
    "ALTER TABLE serving.predictions ALTER COLUMN judged_at SET NOT NULL",
)
# The same change and model give the same prediction, so a row is written once and never updated.
GRANT = (
    "REVOKE UPDATE ON serving.predictions FROM predictor",
    "GRANT DELETE ON serving.predictions TO predictor",
)
REVOKE = (
    "REVOKE DELETE ON serving.predictions FROM predictor",
    "GRANT UPDATE ON serving.predictions TO predictor",
)


def upgrade() -> None:
    """Add the column; the predictor may delete rows, but no longer update them."""
    for statement in (*JUDGED_AT, *GRANT):
        op.execute(statement)


def downgrade() -> None:
    """Drop the column and restore the previous rights."""
    for statement in (*REVOKE, "ALTER TABLE serving.predictions DROP COLUMN judged_at"):
        op.execute(statement)
