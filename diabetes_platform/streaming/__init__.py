"""The stream outside Flink: ingestion into the lake, health and accounting, load generation."""
