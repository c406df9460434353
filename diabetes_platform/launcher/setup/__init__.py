"""One-shots that bring a running service to what the platform needs, each idempotent."""
