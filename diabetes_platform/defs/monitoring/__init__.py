"""Checks of the stream and of the released model on live patients."""
