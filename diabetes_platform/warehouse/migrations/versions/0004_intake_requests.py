"""Requests that took in a patient, by the key with which their sender may repeat them.

A table of its own: change data capture watches the intake table, and a key is no measurement. It
goes with its patient.
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
    """Drop the table and with it the right."""
    op.execute("DROP TABLE serving.intake_requests")
