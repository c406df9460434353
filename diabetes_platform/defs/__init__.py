"""Dagster definitions by subject; `definitions.py` loads every module in this folder."""
