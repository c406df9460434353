"""Measurements of the way from a stored patient through the stream to the answer on the page."""
