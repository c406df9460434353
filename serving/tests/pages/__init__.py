"""Tests of serving.app.pages."""
