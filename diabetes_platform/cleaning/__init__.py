"""Spark cleaning rules for Sail and Apache Spark: raw rows become accepted or rejected rows.

Reading a source belongs in `lake/`, loading PostgreSQL in `warehouse/`.
"""
