"""Forms are taken from this page only: another site's form would act in the visitor's name."""

from starlette.requests import Request


def is_from_here(request: Request) -> bool:
    """Return whether a form was sent by a page of this server, or by no browser at all."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    # Browsers without Sec-Fetch-Site send the origin with each form; other programs send neither.
    return origin is None or origin.partition("://")[2] == request.headers.get("host")
