"""Tests against a running platform; `diabetes_platform_tests` starts both."""
