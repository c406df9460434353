"""The prediction API (`app`) and the stream's predictor (`predictor`)."""
