"""The pipeline, which trains, may not read what a model has said: a prediction is never a label."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take the right."""
    op.execute("REVOKE SELECT ON serving.predictions FROM pipeline")


def downgrade() -> None:
    """Give it back."""
    op.execute("GRANT SELECT ON serving.predictions TO pipeline")
