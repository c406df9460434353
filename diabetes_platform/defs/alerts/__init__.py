"""Alerts: the sensors that raise them and their delivery."""
