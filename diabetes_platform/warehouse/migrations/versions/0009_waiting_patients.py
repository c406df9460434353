"""Functions that find patients without an answer, and send their changes through the stream again.

They run with the rights of their owner, so the pipeline needs none on the intake table or on
predictions: it learns ids, counts and times, but no measurement and no prediction.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Readers reject other timestamps, so such a row never gets an answer. A prediction's `changed_at`
# has milliseconds, the intake's timestamps have microseconds.
WAITING = """
CREATE FUNCTION serving.waiting_patients(older_than interval, at_most integer)
RETURNS TABLE (intake_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.id FROM public.diabetes_new d
    WHERE greatest(d.received_at, d.outcome_recorded_at) < now() - older_than
        AND d.received_at >= '1900-01-01 00:00:00+00'
        AND NOT EXISTS (
            SELECT FROM serving.predictions p WHERE p.intake_id = d.id
            AND p.changed_at
                >= greatest(d.received_at, d.outcome_recorded_at) - interval '1 millisecond')
    ORDER BY d.id LIMIT at_most
$$
"""
# Predictions of patients who no longer exist: their deletion has not arrived.
DELETED = """
CREATE FUNCTION serving.deleted_patients(at_most integer) RETURNS TABLE (intake_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT p.intake_id FROM serving.predictions p
    WHERE NOT EXISTS (SELECT FROM public.diabetes_new d WHERE d.id = p.intake_id)
    ORDER BY p.intake_id LIMIT at_most
$$
"""
# An update without a difference is a change event, too, with the present row and a newer position.
EMIT_AGAIN = """
CREATE FUNCTION serving.emit_again(ids bigint[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH emitted AS (
        UPDATE public.diabetes_new SET pregnancies = pregnancies WHERE id = ANY(ids) RETURNING id)
    SELECT count(*) FROM emitted
$$
"""
INTAKE_DAYS = """
CREATE FUNCTION serving.intake_days(since timestamptz, older_than interval)
RETURNS TABLE (day date, patients bigint, newest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (d.received_at AT TIME ZONE 'UTC')::date, count(*),
        max(greatest(d.received_at, d.outcome_recorded_at))
            FILTER (WHERE greatest(d.received_at, d.outcome_recorded_at) < now() - older_than)
    FROM public.diabetes_new d
    WHERE d.received_at >= since AND d.received_at < now() - older_than
    GROUP BY 1 ORDER BY 1
$$
"""
SIGNATURES = (
    "serving.waiting_patients(interval, integer)",
    "serving.deleted_patients(integer)",
    "serving.emit_again(bigint[])",
    "serving.intake_days(timestamptz, interval)",
)


def upgrade() -> None:
    """Create the functions; only the pipeline may call them."""
    for statement in (WAITING, DELETED, EMIT_AGAIN, INTAKE_DAYS):
        op.execute(statement)
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO pipeline")
