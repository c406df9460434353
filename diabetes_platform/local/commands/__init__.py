"""The commands of `diabetes`, one module each."""
