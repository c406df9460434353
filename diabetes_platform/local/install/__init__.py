"""What the local servers need besides the Python environments of the bootstrap, installed once."""
