"""The idempotency keys of requests that stored a patient, so that a sender may repeat a request.

It is a separate table, because change data capture reads the intake table, and a key is no
measurement. Deleting a patient deletes its key.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INTAKE_REQUESTS = """
CREATE TABLE serving.intake_requests (
    idempotency_key text PRIMARY KEY,
    intake_id bigint NOT NULL UNIQUE REFERENCES public.diabetes_new (id) ON DELETE CASCADE,
    CONSTRAINT idempotency_key_allowed CHECK (idempotency_key ~ '^[!-~]{1,255}$')
)
"""
GRANT = "GRANT SELECT, INSERT ON serving.intake_requests TO api"


def upgrade() -> None:
    """Create the table; the API may add to it and read it."""
    for statement in (INTAKE_REQUESTS, GRANT):
        op.execute(statement)


def downgrade() -> None:
    """Drop the table with its rights."""
    op.execute("DROP TABLE serving.intake_requests")
