"""From raw patient measurements to a validated table, a calibrated model and a prediction."""
