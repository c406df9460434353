"""Sensors that send alerts."""
