"""Tests of serving: they run in its own environment, without Spark and Dagster."""
