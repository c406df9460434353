"""Training, shadow scoring and release of the model."""
