"""Tests of what lies beside the package."""
