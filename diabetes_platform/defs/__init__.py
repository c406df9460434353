"""Dagster definitions only: assets, checks, jobs, schedules, sensors and resources."""
