"""The stream as the platform drives it: patients to load it with."""
