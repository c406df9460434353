"""The whole platform as its users start it, once for all tests that need it."""
