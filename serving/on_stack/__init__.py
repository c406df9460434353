"""What is tried on the whole platform as it runs."""
