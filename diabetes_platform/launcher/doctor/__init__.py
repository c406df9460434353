"""`diabetes doctor`: each service tried end to end, and what to do about one that fails."""
