"""Installation, start, supervision and stop of the platform's services on one machine."""
