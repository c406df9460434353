"""`diabetes report`: the latest state of the platform as one HTML file."""
