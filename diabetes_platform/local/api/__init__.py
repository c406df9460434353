"""The API and the predictor on this machine: client, health."""
