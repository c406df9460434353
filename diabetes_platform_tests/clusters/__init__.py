"""A Docker engine and a Kubernetes cluster for tests, beside everything else on the machine.

They live here and not in `diabetes_platform`: no part of the platform may depend on them.
"""
