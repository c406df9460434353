"""The pipeline, which trains models, may not read predictions: a prediction is never a label."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Revoke the right."""
    op.execute("REVOKE SELECT ON serving.predictions FROM pipeline")


def downgrade() -> None:
    """Grant the right again."""
    op.execute("GRANT SELECT ON serving.predictions TO pipeline")
