"""Tests against a running platform."""
