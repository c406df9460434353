"""The TLS context: verification is on, and a process creates it once."""

import ssl

from diabetes_platform.tls import tls


def test_the_context_verifies_and_is_created_once() -> None:
    context = tls()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls() is context
