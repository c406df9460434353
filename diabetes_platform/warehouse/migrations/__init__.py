"""Alembic's migrations of the warehouse."""
