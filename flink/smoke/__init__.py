"""The job that proves a cluster: a few made-up patients, checked in Python and counted in SQL."""
