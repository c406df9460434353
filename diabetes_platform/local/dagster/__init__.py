"""Dagster on this machine: code server, client, home, batch runs, health."""
