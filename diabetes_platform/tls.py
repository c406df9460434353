"""The TLS context of HTTP clients, created once per process."""

import functools
import ssl


@functools.cache
def tls() -> ssl.SSLContext:
    """Return the context to pass to httpx as `verify`.

    httpx otherwise creates one for each request, which takes 35 ms, even for plain HTTP.
    """
    import httpx

    return httpx.create_ssl_context(trust_env=False)
