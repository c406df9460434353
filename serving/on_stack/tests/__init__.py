"""Tests that need the whole platform: `diabetes_platform_tests` starts them on a running one."""
