"""Java stack traces."""

_CAUSE = "Caused by: "


def failure_reason(text: str) -> str:
    """Return the innermost cause in a Java stack trace, with its class.

    Without a cause, returns the last line that is not indented: an exception, or another message.
    """
    # Stack frames are indented.
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line[0].isspace()]
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    return (causes or lines or ["no message"])[-1]
