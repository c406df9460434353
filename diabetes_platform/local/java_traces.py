"""Reading what a Java program says of its failure. Pure."""

_CAUSE = "Caused by: "


def innermost_cause(said: str) -> str | None:
    """Return the innermost cause in a stack trace, with its exception's class; None without one."""
    lines = (line.strip() for line in said.splitlines())
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    return causes[-1] if causes else None
