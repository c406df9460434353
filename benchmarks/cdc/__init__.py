"""Measurements of change data capture against the same connector with its default settings."""
