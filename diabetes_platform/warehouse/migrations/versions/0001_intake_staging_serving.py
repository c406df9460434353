"""Intake, staging and serving: tables, the current version's pointer and the audit."""

from alembic import op
from psycopg import sql

from diabetes_platform.contract.tables import DIABETES_NEW, SERVING_PATIENTS, STAGING_PATIENTS
from diabetes_platform.warehouse import ddl

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INTAKE = sql.SQL("CREATE TABLE public.diabetes_new ({columns}, PRIMARY KEY (id), {checks})")
INTAKE_DEFAULTS = """
ALTER TABLE public.diabetes_new
    ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY,
    ALTER COLUMN received_at SET DEFAULT now(),
    ADD CONSTRAINT outcome_recorded CHECK ((outcome IS NULL) = (outcome_recorded_at IS NULL))
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
STAGING = sql.SQL("CREATE TABLE staging.patients ({columns})")
VERSIONS = sql.SQL(
    "CREATE TABLE serving.patient_versions (version bigint NOT NULL, {columns}, {checks})"
)
VERSIONS_INDEX = """
CREATE INDEX patient_versions_version ON serving.patient_versions USING brin (version)
"""
CURRENT = """
CREATE TABLE serving.current_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
)
"""
PATIENTS = sql.SQL(
    "CREATE VIEW serving.patients AS SELECT {columns} FROM serving.patient_versions "
    "WHERE version = (SELECT version FROM serving.current_version)"
)
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
    """Create the schemas, tables and views; column lists and checks come from the contract."""
    checks = sql.SQL(", ").join(ddl.field_checks())
    intake = INTAKE.format(columns=ddl.columns(DIABETES_NEW, not_null=True), checks=checks)
    # No constraint on staging: there the expectations judge; serving is strict.
    staging = STAGING.format(columns=ddl.columns(STAGING_PATIENTS, not_null=False))
    versions = VERSIONS.format(columns=ddl.columns(SERVING_PATIENTS, not_null=True), checks=checks)
    patients = PATIENTS.format(columns=ddl.column_names(SERVING_PATIENTS))
    for statement in (
        "CREATE SCHEMA staging",
        "CREATE SCHEMA serving",
        intake.as_string(),
        INTAKE_DEFAULTS,
        staging.as_string(),
        BATCHES,
        VALIDATIONS,
        versions.as_string(),
        VERSIONS_INDEX,
        CURRENT,
        patients.as_string(),
        PROMOTIONS,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drop all of it, the patients included."""
    op.execute("DROP SCHEMA serving CASCADE")
    op.execute("DROP SCHEMA staging CASCADE")
    op.execute("DROP TABLE public.diabetes_new")
