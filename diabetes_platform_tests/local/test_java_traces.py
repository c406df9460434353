"""The innermost cause of a Java stack trace."""

import pytest

from diabetes_platform.local.java_traces import innermost_cause

TRACE = """org.example.Outer: it failed
\tat org.example.Main.main(Main.java:1)
Caused by: org.example.Middle: because of this
\t... 3 more
Caused by: java.net.ConnectException: Connection refused
\t... 4 more
"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (TRACE, "java.net.ConnectException: Connection refused"),
        ("org.example.Outer: it failed\n\tat org.example.Main", None),
        ("", None),
    ],
)
def test_the_innermost_cause_is_the_last_that_is_named(said: str, cause: str | None) -> None:
    assert innermost_cause(said) == cause
