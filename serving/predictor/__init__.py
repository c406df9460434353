"""The stream's predictor: scores each patient of the sink topic and stores the predictions."""
