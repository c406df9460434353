"""Measurements of the prediction API against the same server without a model, and a plain one."""
