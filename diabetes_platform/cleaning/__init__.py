"""Spark rules, written once for Sail, Apache Spark and a cluster: raw rows to rows with a verdict.

Reading a source is not here (`lake/`), nor loading PostgreSQL (`warehouse/`).
"""
