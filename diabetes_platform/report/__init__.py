"""`diabetes report`: the platform's latest state as one HTML file."""
