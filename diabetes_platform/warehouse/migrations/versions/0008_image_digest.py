"""A hash of each predicted image, by which the predictor recognises an unchanged image.

Rows from before this revision have none: the first snapshot after it may add a row beside them.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the grants on the table cover it."""
    op.execute("ALTER TABLE serving.predictions ADD COLUMN image_digest text")
