"""Java stack traces."""

import pytest

from diabetes_platform.clients.java_traces import failure_reason

TRACE = """org.example.Outer: it failed
\tat org.example.Main.main(Main.java:1)
Caused by: org.example.Middle: because of this
\t... 3 more
Caused by: java.net.ConnectException: Connection refused
\t... 4 more
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TRACE, "java.net.ConnectException: Connection refused"),
        ("org.example.Outer: it failed\n\tat org.example.Main", "org.example.Outer: it failed"),
        ("Traceback\n  File x\nValueError: no such thing\n", "ValueError: no such thing"),
        ("smoke: {} instead of {'accepted': 1}\n", "smoke: {} instead of {'accepted': 1}"),
        ("\nno trace\n\n", "no trace"),
        ("", "no message"),
    ],
)
def test_the_reason_is_the_innermost_cause_or_the_last_line_that_is_not_a_frame(
    text: str, reason: str
) -> None:
    assert failure_reason(text) == reason
