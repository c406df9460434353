"""Data Docs at `/data-docs/`: the files of a directory, or the objects below an S3 URL."""

import logging
import re
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from obstore.exceptions import BaseError, NotModifiedError
from obstore.store import ObjectStore, from_url
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from diabetes_platform.contract.s3 import S3, storage_error
from serving.app.problems import API_HEADERS, ProblemError

if TYPE_CHECKING:
    from obstore import GetOptions

logger = logging.getLogger("serving.data_docs")

_MISSING = "There are no Data Docs yet. The first checked batch creates them."
_INDEX = "index.html"
_KEY = re.compile(r"(index|validations/[A-Za-z0-9_-]{1,120})\.html")
HEADERS = {
    **API_HEADERS,
    # Pages come from another process. They contain no script, and none may run beside the form.
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
    ),
}


class DataDocs(StaticFiles):
    """The files of Data Docs, whose directory may be created later: 404 until then.

    Starlette prevents links and `..` from leading out of the directory.
    """

    async def check_config(self) -> None:
        """Raise HTTPException while the directory does not exist."""
        try:
            await super().check_config()
        except RuntimeError:
            raise HTTPException(404, _MISSING) from None

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file with the headers of all Data Docs."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


class StoredDataDocs:
    """The pages of Data Docs below an S3 URL; the connection is opened by the first request."""

    def __init__(self, url: str, s3: S3) -> None:
        self._url, self._s3 = url, s3
        self._store: ObjectStore | None = None

    async def respond(self, request: Request, path: str) -> Response:
        """Return a page; 304 if the client has it, ProblemError for a missing page or bucket."""
        key = path or _INDEX
        if not _KEY.fullmatch(key):
            raise HTTPException(404)
        etag = request.headers.get("if-none-match")
        try:
            content, meta = await self._get(key, {"if_none_match": etag} if etag else {})
        except NotModifiedError:
            return Response(None, 304, {**HEADERS, "etag": etag or ""})
        except (BaseError, FileNotFoundError) as error:
            # obstore raises FileNotFoundError for a missing bucket, too.
            cause = storage_error(self._s3, self._url, str(error))
            if cause is None and isinstance(error, FileNotFoundError):
                raise HTTPException(404, None if path else _MISSING) from error
            logger.warning("Data Docs cannot be read: %s", cause or type(error).__name__)
            detail = f"The Data Docs cannot be read: {cause or 'the storage failed'}."
            raise ProblemError(503, detail, kind="storage-unavailable", retry=True) from error
        return Response(content, 200, {**HEADERS, "etag": meta["e_tag"] or ""}, "text/html")

    async def _get(self, key: str, options: "GetOptions") -> tuple[bytes, Any]:
        if self._store is None:
            self._store = from_url(self._url, **self._s3.for_obstore())
        result = await self._store.get_async(key, options=options)
        return bytes(await result.bytes_async()), result.meta


def s3_data_docs(url: str, s3: S3) -> APIRouter:
    """Return the route of the Data Docs at an S3 URL."""
    data_docs = StoredDataDocs(url, s3)
    router = APIRouter()

    @router.api_route("/data-docs/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request, path: str) -> Response:
        return await data_docs.respond(request, path)

    return router
