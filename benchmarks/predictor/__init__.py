"""The predictor: rows a second through a broker, a model and PostgreSQL."""
