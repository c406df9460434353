"""Benchmarks of the prediction API against the API without a model and a plain FastAPI server."""
