"""The predictor between a real broker and a real database."""
