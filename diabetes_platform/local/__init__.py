"""Starts, watches and stops the platform's services on one machine."""
