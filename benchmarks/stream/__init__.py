"""Benchmark of the latency from a stored patient through the stream to the prediction."""
