"""Alembic's entry point; the connection comes from `diabetes_platform.warehouse.migrate`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    version_table_schema="public",
)
with context.begin_transaction():
    context.run_migrations()
