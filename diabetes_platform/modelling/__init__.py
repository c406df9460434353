"""Training set, training, honest evaluation, the release gate and the model store."""
