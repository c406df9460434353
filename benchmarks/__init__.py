"""Measurements of the platform against a peer in the same run; each prints ratios."""
