"""A copy of the project with one more field: the steps of “Add a field”, done by a program.

It needs the standard library and the contract only, because serving/ and flink/ import it too. A
test runs a program on the copy with `PYTHONPATH` set to its directory.
"""

import shutil
from pathlib import Path

from diabetes_platform.contract.fields import FIELD_NAMES

CHECKOUT = Path(__file__).resolve().parent.parent
NAME = "added_later"
"""No name that a real field would have, so that a copy may be of a contract that grew already."""
FIELD = """    Field(
        name="added_later",
        alias="AddedLater",
        kind="number",
        unit="%",
        label="Added later",
        description="A measurement that joins a running platform.",
        minimum=3,
        maximum=20,
        required=False,
        typical_mean=(4, 12),
        step=0.1,
        example=5.7,
    ),
"""
MIGRATION = '''"""A field that joins a running platform."""

from alembic import op

revision = "{revision}"
down_revision = "{previous}"
branch_labels = None
depends_on = None

RULE = "CONSTRAINT added_later_allowed CHECK (added_later BETWEEN 3 AND 20)"
COLUMNS = (
    ("staging.patients", "added_later double precision"),
    ("staging.patients", "added_later_filled double precision"),
    ("staging.patients", "added_later_normed double precision"),
    ("serving.patient_versions", f"added_later double precision {{RULE}}"),
    ("serving.patient_versions", "added_later_filled double precision"),
    ("serving.patient_versions", "added_later_normed double precision"),
    ("public.diabetes_new", f"added_later double precision {{RULE}}"),
)
VIEW = """
CREATE OR REPLACE VIEW serving.patients AS
SELECT
    record_id, pregnancies, glucose, blood_pressure, skin_thickness, insulin, bmi,
    diabetes_pedigree_function, age, glucose_filled, blood_pressure_filled,
    skin_thickness_filled, insulin_filled, bmi_filled, pregnancies_normed, glucose_normed,
    blood_pressure_normed, skin_thickness_normed, insulin_normed, bmi_normed,
    diabetes_pedigree_function_normed, age_normed, outcome, source, batch_id,
    added_later, added_later_filled, added_later_normed
FROM serving.patient_versions
WHERE version = (SELECT version FROM serving.current_version)
"""
GRANTS = (("INSERT (added_later)", "public.diabetes_new", "api"),)


def upgrade() -> None:
    """Add the columns; the API may insert the measurement."""
    for table, column in COLUMNS:
        op.execute(f"ALTER TABLE {{table}} ADD COLUMN {{column}}")
    op.execute(VIEW)
    for privileges, objects, roles in GRANTS:
        op.execute(f"GRANT {{privileges}} ON {{objects}} TO {{roles}}")
'''
_END_OF_FEATURES = "\n)\n\nOUTCOME = Field("


def copy_project(directory: Path, *packages: str) -> None:
    """Copy these packages of the checkout to `directory`."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in packages:
        shutil.copytree(CHECKOUT / package, directory / package, ignore=ignored)


def add_field(directory: Path, definition: str = FIELD) -> None:
    """Append a field to the contract of the copy in `directory`."""
    fields = directory / "diabetes_platform/contract/fields.py"
    text = fields.read_text(encoding="utf-8")
    if _END_OF_FEATURES not in text:
        raise ValueError(f"{fields}: FEATURES does not end with {_END_OF_FEATURES!r}")
    extended = text.replace(_END_OF_FEATURES, f"\n{definition.rstrip()}{_END_OF_FEATURES}")
    fields.write_text(extended, encoding="utf-8")


def add_migration(directory: Path) -> str:
    """Add the field's migration to the copy in `directory`; return its revision."""
    versions = directory / "diabetes_platform/warehouse/migrations/versions"
    previous = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
    revision = f"{int(previous) + 1:04}"
    text = MIGRATION.format(revision=revision, previous=previous)
    (versions / f"{revision}_{NAME}.py").write_text(text, encoding="utf-8")
    return revision


def fields_without_migration() -> list[str]:
    """Return the names of the contract's fields that no migration mentions."""
    versions = CHECKOUT / "diabetes_platform/warehouse/migrations/versions"
    texts = [path.read_text(encoding="utf-8") for path in versions.glob("[0-9]*.py")]
    return [name for name in FIELD_NAMES if not any(name in text for text in texts)]


def migration_hint() -> str | None:
    """Return what to do about fields without a migration; None where every field has one."""
    missing = fields_without_migration()
    if not missing:
        return None
    return (
        f"{', '.join(missing)} has no migration: add its columns in a new file of "
        "diabetes_platform/warehouse/migrations/versions"
    )
