"""Benchmark of the predictor: rows per second through a broker, a model and PostgreSQL."""
