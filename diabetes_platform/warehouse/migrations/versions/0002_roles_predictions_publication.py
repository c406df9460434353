"""Roles with least privilege, predictions, and the publication of the intake table.

Roles belong to the whole cluster. This revision creates the missing ones without login, and its
downgrade keeps them. Passwords, and REPLICATION for `debezium`, need rights that the owner of a
database lacks, so `warehouse-setup` sets them. It also restricts `pg_logical_emit_message`, which
Debezium's heartbeat calls, to `debezium`: the function belongs to the superuser, and until then
every role may call it.

The intake table keeps REPLICA IDENTITY DEFAULT: a change carries the new row and the old key, which
is enough to merge by id. The old values would double the log and expose more patient data.

Needs PostgreSQL 17 or later, for MAINTAIN.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLES = """
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY
        ARRAY['migrator', 'pipeline', 'api', 'predictor', 'debezium', 'reader']
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this cluster was migrated at the same time
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing and % may not create it', wanted, current_user
                    USING ERRCODE = 'insufficient_privilege';
        END;
    END LOOP;
END
$$
"""
# No foreign key to the intake: a patient may be deleted before its prediction arrives.
PREDICTIONS = """
CREATE TABLE serving.predictions (
    intake_id bigint NOT NULL,
    source_lsn bigint NOT NULL,
    model_version text NOT NULL,
    probability double precision NOT NULL,
    result text NOT NULL,
    contributions jsonb NOT NULL,
    changed_at timestamptz NOT NULL,
    captured_at timestamptz NOT NULL,
    consumed_at timestamptz NOT NULL,
    scored_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (intake_id, source_lsn, model_version),
    CONSTRAINT probability_allowed CHECK (probability BETWEEN 0 AND 1),
    CONSTRAINT result_allowed CHECK (result IN ('Normal', 'Diabetes'))
)
"""
# No TRUNCATE: Debezium skips it, and only the owner may truncate the table.
PUBLICATION = """
CREATE PUBLICATION diabetes_publication FOR TABLE public.diabetes_new
    WITH (publish = 'insert, update, delete')
"""
CLOSE = (
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
)
OPEN_AGAIN = (
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
)
MEASUREMENTS = (
    "pregnancies, glucose, blood_pressure, skin_thickness, insulin, bmi,"
    " diabetes_pedigree_function, age"
)
GRANTS = (
    ("USAGE", "SCHEMA public", "api, debezium"),
    ("USAGE", "SCHEMA staging", "pipeline"),
    ("USAGE", "SCHEMA serving", "pipeline, api, predictor, reader"),
    # A load replaces the rows and refreshes the statistics; the audit only grows.
    ("SELECT, INSERT, TRUNCATE, MAINTAIN", "staging.patients", "pipeline"),
    ("SELECT, INSERT", "staging.batches, staging.validations", "pipeline"),
    ("SELECT, INSERT, DELETE", "serving.patient_versions", "pipeline"),
    ("SELECT, INSERT, UPDATE", "serving.current_version", "pipeline"),
    ("SELECT, INSERT", "serving.promotions", "pipeline"),
    ("SELECT", "serving.patients, serving.predictions", "pipeline"),
    # A patient's measurements are entered once; only the outcome follows later.
    ("SELECT", "public.diabetes_new", "api, debezium"),
    (f"INSERT ({MEASUREMENTS})", "public.diabetes_new", "api"),
    ("UPDATE (outcome, outcome_recorded_at)", "public.diabetes_new", "api"),
    ("SELECT", "serving.predictions", "api"),
    # SELECT: an upsert reads the row that it would replace.
    ("SELECT, INSERT, UPDATE", "serving.predictions", "predictor"),
    ("SELECT", "serving.patients, serving.predictions, serving.promotions", "reader"),
)


def upgrade() -> None:
    """Create roles, predictions and publication; revoke PUBLIC's rights and grant each role's."""
    for statement in (ROLES, PREDICTIONS, PUBLICATION, *CLOSE):
        op.execute(statement)
    op.execute(_on_this_database("REVOKE ALL ON DATABASE %I FROM PUBLIC"))
    op.execute(
        _on_this_database(
            "GRANT CONNECT ON DATABASE %I TO pipeline, api, predictor, debezium, reader"
        )
    )
    for privileges, objects, roles in GRANTS:
        op.execute(f"GRANT {privileges} ON {objects} TO {roles}")


def downgrade() -> None:
    """Drop predictions and publication, and restore PUBLIC's rights; the roles stay."""
    for privileges, objects, roles in reversed(GRANTS):
        op.execute(f"REVOKE {privileges} ON {objects} FROM {roles}")
    op.execute(
        _on_this_database(
            "REVOKE CONNECT ON DATABASE %I FROM pipeline, api, predictor, debezium, reader"
        )
    )
    op.execute(_on_this_database("GRANT CONNECT, TEMPORARY ON DATABASE %I TO PUBLIC"))
    for statement in (
        *OPEN_AGAIN,
        "DROP PUBLICATION diabetes_publication",
        "DROP TABLE serving.predictions",
    ):
        op.execute(statement)


def _on_this_database(statement: str) -> str:
    return f"DO $$ BEGIN EXECUTE format('{statement}', current_database()); END $$"
