"""The authorities that a process trusts when it asks a service over HTTP."""

import functools
import ssl


@functools.cache
def tls() -> ssl.SSLContext:
    """Return what httpx makes anew for each request, `http` or not, in 35 ms: who polls asks here.

    To be given as `verify`.
    """
    import httpx

    return httpx.create_ssl_context(trust_env=False)
