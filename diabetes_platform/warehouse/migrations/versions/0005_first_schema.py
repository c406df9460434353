"""The first schema: intake, staging, serving, predictions, the roles' rights and the publication.

The SQL is frozen: a change of the contract needs a new revision, as a test verifies. No database is
older than this revision, which replaces 0001 to 0005.

Roles belong to the whole cluster. This revision creates the missing ones without login. Passwords,
and REPLICATION for `debezium`, need rights that the owner of a database lacks, so `warehouse-setup`
sets them. It also restricts `pg_logical_emit_message`, which Debezium's heartbeat calls, to
`debezium`: the function belongs to the superuser, and until then every role may call it.

The intake table keeps REPLICA IDENTITY DEFAULT: a change carries the new row and the old key, which
is enough to merge by id. The old values would double the log and expose more patient data.

Needs PostgreSQL 17 or later, for MAINTAIN.
"""

from alembic import op

revision = "0005"
down_revision = None
branch_labels = None
depends_on = None

MEASUREMENT_COLUMNS = """
    pregnancies integer NOT NULL,
    glucose double precision,
    blood_pressure double precision,
    skin_thickness double precision,
    insulin double precision,
    bmi double precision,
    diabetes_pedigree_function double precision NOT NULL,
    age double precision NOT NULL
""".strip()
RULES = """
    CONSTRAINT pregnancies_allowed CHECK (pregnancies BETWEEN 0 AND 25),
    CONSTRAINT glucose_allowed CHECK (glucose BETWEEN 40 AND 600),
    CONSTRAINT blood_pressure_allowed CHECK (blood_pressure BETWEEN 20 AND 200),
    CONSTRAINT skin_thickness_allowed CHECK (skin_thickness BETWEEN 1 AND 99),
    CONSTRAINT insulin_allowed CHECK (insulin BETWEEN 1 AND 1000),
    CONSTRAINT bmi_allowed CHECK (bmi BETWEEN 10 AND 100),
    CONSTRAINT diabetes_pedigree_function_allowed
        CHECK (diabetes_pedigree_function BETWEEN 0 AND 5),
    CONSTRAINT age_allowed CHECK (age BETWEEN 18 AND 120),
    CONSTRAINT outcome_allowed CHECK (outcome IN (0, 1))
""".strip()
INTAKE = f"""
CREATE TABLE public.diabetes_new (
    id bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT now(),
    {MEASUREMENT_COLUMNS},
    outcome integer,
    outcome_recorded_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT outcome_recorded CHECK ((outcome IS NULL) = (outcome_recorded_at IS NULL)),
    {RULES}
)
"""
BATCHES = """
CREATE TABLE staging.batches (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id text NOT NULL,
    delta_version bigint NOT NULL,
    rows bigint NOT NULL,
    staged_at timestamptz NOT NULL DEFAULT now()
)
"""
VALIDATIONS = """
CREATE TABLE staging.validations (
    run_name text PRIMARY KEY,
    version bigint NOT NULL REFERENCES staging.batches,
    passed boolean NOT NULL,
    failed text[] NOT NULL,
    validated_at timestamptz NOT NULL DEFAULT now()
)
"""
# Staging has no constraints, because the expectations check it; serving is strict.
STAGING = """
CREATE TABLE staging.patients (
    record_id text,
    pregnancies integer,
    glucose double precision,
    blood_pressure double precision,
    skin_thickness double precision,
    insulin double precision,
    bmi double precision,
    diabetes_pedigree_function double precision,
    age double precision,
    glucose_filled double precision,
    blood_pressure_filled double precision,
    skin_thickness_filled double precision,
    insulin_filled double precision,
    bmi_filled double precision,
    pregnancies_normed double precision,
    glucose_normed double precision,
    blood_pressure_normed double precision,
    skin_thickness_normed double precision,
    insulin_normed double precision,
    bmi_normed double precision,
    diabetes_pedigree_function_normed double precision,
    age_normed double precision,
    outcome integer,
    source text,
    batch_id text
)
"""
VERSIONS = f"""
CREATE TABLE serving.patient_versions (
    version bigint NOT NULL,
    record_id text NOT NULL,
    {MEASUREMENT_COLUMNS},
    glucose_filled double precision NOT NULL,
    blood_pressure_filled double precision NOT NULL,
    skin_thickness_filled double precision NOT NULL,
    insulin_filled double precision NOT NULL,
    bmi_filled double precision NOT NULL,
    pregnancies_normed double precision NOT NULL,
    glucose_normed double precision NOT NULL,
    blood_pressure_normed double precision NOT NULL,
    skin_thickness_normed double precision NOT NULL,
    insulin_normed double precision NOT NULL,
    bmi_normed double precision NOT NULL,
    diabetes_pedigree_function_normed double precision NOT NULL,
    age_normed double precision NOT NULL,
    outcome integer,
    source text NOT NULL,
    batch_id text NOT NULL,
    {RULES}
)
"""
VERSIONS_INDEX = """
CREATE INDEX patient_versions_version ON serving.patient_versions USING brin (version)
"""
CURRENT = """
CREATE TABLE serving.current_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
)
"""
PATIENTS = """
CREATE VIEW serving.patients AS
SELECT
    record_id, pregnancies, glucose, blood_pressure, skin_thickness, insulin, bmi,
    diabetes_pedigree_function, age, glucose_filled, blood_pressure_filled,
    skin_thickness_filled, insulin_filled, bmi_filled, pregnancies_normed, glucose_normed,
    blood_pressure_normed, skin_thickness_normed, insulin_normed, bmi_normed,
    diabetes_pedigree_function_normed, age_normed, outcome, source, batch_id
FROM serving.patient_versions
WHERE version = (SELECT version FROM serving.current_version)
"""
PROMOTIONS = """
CREATE TABLE serving.promotions (
    promotion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('promote', 'rollback')),
    version bigint NOT NULL,
    previous_version bigint,
    batch_id text NOT NULL,
    delta_version bigint NOT NULL,
    validation_run text,
    rows bigint NOT NULL,
    verdict text NOT NULL,
    promoted_by text NOT NULL DEFAULT current_user,
    promoted_at timestamptz NOT NULL DEFAULT now()
)
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
    judged_at timestamptz NOT NULL,
    PRIMARY KEY (intake_id, source_lsn, model_version),
    CONSTRAINT probability_allowed CHECK (probability BETWEEN 0 AND 1),
    CONSTRAINT result_allowed CHECK (result IN ('Normal', 'Diabetes'))
)
"""
# The idempotency keys of requests that stored a patient, so that a sender may repeat a request. A
# separate table, because change data capture reads the intake table. A patient's key is deleted
# with the patient.
INTAKE_REQUESTS = """
CREATE TABLE serving.intake_requests (
    idempotency_key text PRIMARY KEY,
    intake_id bigint NOT NULL UNIQUE REFERENCES public.diabetes_new (id) ON DELETE CASCADE,
    CONSTRAINT idempotency_key_allowed CHECK (idempotency_key ~ '^[!-~]{1,255}$')
)
"""
ROLES = """
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY
        ARRAY['migrator', 'pipeline', 'api', 'predictor', 'debezium', 'reader']
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this cluster was migrated at the same time
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing and % may not create it', role_name,
                    current_user
                    USING ERRCODE = 'insufficient_privilege';
        END;
    END LOOP;
END
$$
"""
# No TRUNCATE: Debezium skips it, and revision 0007 refuses it.
PUBLICATION = """
CREATE PUBLICATION diabetes_publication FOR TABLE public.diabetes_new
    WITH (publish = 'insert, update, delete')
"""
CLOSE = (
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
)
MEASUREMENT_NAMES = (
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
    # No predictions, because the pipeline trains models, and a prediction is never a label.
    ("SELECT", "serving.patients", "pipeline"),
    # A patient's measurements are entered once; only the outcome follows later.
    ("SELECT", "public.diabetes_new", "api, debezium"),
    (f"INSERT ({MEASUREMENT_NAMES})", "public.diabetes_new", "api"),
    ("UPDATE (outcome, outcome_recorded_at)", "public.diabetes_new", "api"),
    ("SELECT", "serving.predictions", "api"),
    ("SELECT, INSERT", "serving.intake_requests", "api"),
    # The same change and model give the same prediction, so a row is written once, and deleted with
    # its patient. SELECT: an upsert reads the row that it would replace.
    ("SELECT, INSERT, DELETE", "serving.predictions", "predictor"),
    ("SELECT", "serving.patients, serving.predictions, serving.promotions", "reader"),
)


def upgrade() -> None:
    """Create everything; revoke PUBLIC's rights and grant each role's."""
    for statement in (
        "CREATE SCHEMA staging",
        "CREATE SCHEMA serving",
        INTAKE,
        STAGING,
        BATCHES,
        VALIDATIONS,
        VERSIONS,
        VERSIONS_INDEX,
        CURRENT,
        PATIENTS,
        PROMOTIONS,
        PREDICTIONS,
        INTAKE_REQUESTS,
        ROLES,
        PUBLICATION,
        *CLOSE,
        _on_this_database("REVOKE ALL ON DATABASE %I FROM PUBLIC"),
        _on_this_database(
            "GRANT CONNECT ON DATABASE %I TO pipeline, api, predictor, debezium, reader"
        ),
    ):
        op.execute(statement)
    for privileges, objects, roles in GRANTS:
        op.execute(f"GRANT {privileges} ON {objects} TO {roles}")


def _on_this_database(statement: str) -> str:
    return f"DO $$ BEGIN EXECUTE format('{statement}', current_database()); END $$"
