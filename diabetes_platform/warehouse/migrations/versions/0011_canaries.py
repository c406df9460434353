"""The patients that `diabetes doctor` sends through the stream, so that they are recognisable.

Only the superuser writes the table: no client of the API can mark a patient as a canary, and with
the mark the next run of `diabetes doctor` may delete it.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CANARIES = """
CREATE TABLE serving.canaries (
    intake_id bigint PRIMARY KEY REFERENCES public.diabetes_new (id) ON DELETE CASCADE
)
"""
GRANTS = (("SELECT", "serving.canaries", "api"),)


def upgrade() -> None:
    """Create the table; the API leaves its patients out of lists."""
    op.execute(CANARIES)
    for privileges, objects, roles in GRANTS:
        op.execute(f"GRANT {privileges} ON {objects} TO {roles}")
