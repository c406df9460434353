"""Tests of serving.app.patients."""
