"""The smoke test of a cluster: generated patients, checked in Python and counted in SQL."""
