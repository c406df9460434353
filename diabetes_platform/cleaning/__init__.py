"""Spark rules that turn a raw batch into accepted and rejected rows."""
