"""The launcher's error: one line for the person at the terminal, without a traceback."""


class LauncherError(RuntimeError):
    """Something that the person who ran the command can act on; `str(error)` says all of it."""
