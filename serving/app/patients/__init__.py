"""Patients: taking them in, reading them and following their predictions."""
