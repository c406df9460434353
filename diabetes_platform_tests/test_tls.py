"""One process reads the authorities that it trusts once."""

import ssl

from diabetes_platform.tls import tls


def test_it_verifies_and_is_made_once() -> None:
    made = tls()
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls() is made
