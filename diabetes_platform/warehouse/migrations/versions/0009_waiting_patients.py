"""Functions that find patients without an answer, and send their changes through the stream again.

They run with the rights of their owner, so the pipeline needs none on the intake table or on
predictions: it learns ids, counts and times, but no measurement and no prediction.

PostgreSQL checks constraints that are NOT VALID on every update. A row from before revision 0006
that violates one can therefore neither be sent again nor get an answer: such rows do not wait, and
are skipped.
"""

from pathlib import Path
from runpy import run_path

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

RULES = run_path(str(Path(__file__).with_name("0006_intake_times.py")))["RULES"]
# As a CHECK constraint, a rule that gives NULL is satisfied.
UPDATABLE = " AND ".join(f"({rule}) IS NOT FALSE" for _, rule in RULES)
# The caller passes the rejected patients with the time of their newest rejection, each once: a
# patient without a later change does not wait. Times of predictions and rejections have
# milliseconds, the intake's have microseconds.
REJECTED = """
    LEFT JOIN unnest(rejected_ids, rejected_times) AS r (id, rejected_at) ON r.id = d.id
        AND r.rejected_at
            >= greatest(d.received_at, d.outcome_recorded_at) - interval '1 millisecond'
"""
WAITING = f"""
CREATE FUNCTION serving.waiting_patients(
    older_than interval, after_id bigint, at_most integer,
    rejected_ids bigint[], rejected_times timestamptz[])
RETURNS TABLE (waiting bigint[], rejected bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH unanswered AS (
        SELECT d.id, r.id IS NOT NULL AS rejected
        FROM (SELECT * FROM public.diabetes_new WHERE {UPDATABLE}) d {REJECTED}
        WHERE d.id > after_id
            AND greatest(d.received_at, d.outcome_recorded_at) < now() - older_than
            AND NOT EXISTS (
                SELECT FROM serving.predictions p WHERE p.intake_id = d.id
                AND p.changed_at
                    >= greatest(d.received_at, d.outcome_recorded_at) - interval '1 millisecond'))
    SELECT ARRAY(SELECT id FROM unanswered WHERE NOT rejected ORDER BY id LIMIT at_most),
        (SELECT count(*) FROM unanswered WHERE rejected)
$$
"""  # noqa: S608 - a constant
# Predictions of patients who no longer exist: their deletion has not arrived.
DELETED = """
CREATE FUNCTION serving.deleted_patients(after_id bigint, at_most integer)
RETURNS TABLE (intake_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT p.intake_id FROM serving.predictions p
    WHERE p.intake_id > after_id
        AND NOT EXISTS (SELECT FROM public.diabetes_new d WHERE d.id = p.intake_id)
    ORDER BY p.intake_id LIMIT at_most
$$
"""
# An update without a difference is a change event, too, with the present row and a newer position.
EMIT_AGAIN = f"""
CREATE FUNCTION serving.emit_again(ids bigint[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH emitted AS (
        UPDATE public.diabetes_new SET pregnancies = pregnancies
        WHERE id = ANY(ids) AND {UPDATABLE} RETURNING id)
    SELECT count(*) FROM emitted
$$
"""  # noqa: S608 - a constant
# The next patients by id, answered or not: a lost correction of a measurement leaves no trace.
# Locked in the order of their ids, so that two callers cannot deadlock.
EMIT_NEXT = f"""
CREATE FUNCTION serving.emit_next(after_id bigint, at_most integer)
RETURNS TABLE (emitted bigint, skipped bigint, last_id bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH next_patients AS (
        SELECT id, {UPDATABLE} AS updatable FROM public.diabetes_new WHERE id > after_id
        ORDER BY id LIMIT at_most FOR UPDATE),
    emitted AS (
        UPDATE public.diabetes_new d SET pregnancies = d.pregnancies FROM next_patients n
        WHERE d.id = n.id AND n.updatable RETURNING d.id)
    SELECT (SELECT count(*) FROM emitted), count(*) FILTER (WHERE NOT updatable), max(id)
    FROM next_patients
$$
"""  # noqa: S608 - a constant
INTAKE_DAYS = f"""
CREATE FUNCTION serving.intake_days(
    since timestamptz, until timestamptz, rejected_ids bigint[], rejected_times timestamptz[])
RETURNS TABLE (day date, patients bigint, newest timestamptz, rejected bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (d.received_at AT TIME ZONE 'UTC')::date,
        count(*) FILTER (WHERE r.id IS NULL),
        max(greatest(d.received_at, d.outcome_recorded_at))
            FILTER (WHERE r.id IS NULL
                AND greatest(d.received_at, d.outcome_recorded_at) < until),
        count(r.id)
    FROM public.diabetes_new d {REJECTED}
    WHERE d.received_at >= since AND d.received_at < until
    GROUP BY 1 ORDER BY 1
$$
"""  # noqa: S608 - a constant
SIGNATURES = (
    "serving.waiting_patients(interval, bigint, integer, bigint[], timestamptz[])",
    "serving.deleted_patients(bigint, integer)",
    "serving.emit_again(bigint[])",
    "serving.emit_next(bigint, integer)",
    "serving.intake_days(timestamptz, timestamptz, bigint[], timestamptz[])",
)
GRANTS = (("EXECUTE", f"FUNCTION {', '.join(SIGNATURES)}", "pipeline"),)


def upgrade() -> None:
    """Create the functions; only the pipeline may call them."""
    for statement in (WAITING, DELETED, EMIT_AGAIN, EMIT_NEXT, INTAKE_DAYS):
        op.execute(statement)
    op.execute(f"REVOKE ALL ON FUNCTION {', '.join(SIGNATURES)} FROM PUBLIC")
    for privileges, objects, roles in GRANTS:
        op.execute(f"GRANT {privileges} ON {objects} TO {roles}")
