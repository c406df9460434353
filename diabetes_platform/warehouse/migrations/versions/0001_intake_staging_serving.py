"""Intake, staging and serving: tables, the current version's pointer and the audit.

The SQL is frozen: a change of the contract needs a new revision, as a test verifies.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INTAKE = """
CREATE TABLE public.diabetes_new (
    id bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT now(),
    pregnancies integer NOT NULL,
    glucose double precision,
    blood_pressure double precision,
    skin_thickness double precision,
    insulin double precision,
    bmi double precision,
    diabetes_pedigree_function double precision NOT NULL,
    age double precision NOT NULL,
    outcome integer,
    outcome_recorded_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT outcome_recorded CHECK ((outcome IS NULL) = (outcome_recorded_at IS NULL)),
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
VERSIONS = """
CREATE TABLE serving.patient_versions (
    version bigint NOT NULL,
    record_id text NOT NULL,
    pregnancies integer NOT NULL,
    glucose double precision,
    blood_pressure double precision,
    skin_thickness double precision,
    insulin double precision,
    bmi double precision,
    diabetes_pedigree_function double precision NOT NULL,
    age double precision NOT NULL,
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


def upgrade() -> None:
    """Create the schemas, tables and views."""
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
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drop all of it, the patients included."""
    op.execute("DROP SCHEMA serving CASCADE")
    op.execute("DROP SCHEMA staging CASCADE")
    op.execute("DROP TABLE public.diabetes_new")
