"""Data Docs at `/data-docs/`: the files of a directory, or the objects below an S3 URL."""

import mimetypes

from fastapi import APIRouter, Response
from obstore.exceptions import BaseError
from obstore.store import from_url
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from diabetes_platform.contract.s3 import S3, storage_error

_MISSING = "There are no Data Docs yet. The first checked batch creates them."


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


def stored_data_docs(url: str, s3: S3) -> APIRouter:
    """Return the route of the Data Docs at an S3 URL: 404 for a missing page, 503 without S3."""
    store = from_url(url, **s3.for_obstore())
    router = APIRouter()

    @router.get("/data-docs/{path:path}", include_in_schema=False)
    async def page(path: str) -> Response:
        key = path or "index.html"
        try:
            result = await store.get_async(key)
            content = bytes(await result.bytes_async())
        except (FileNotFoundError, ValueError):
            # ValueError: not a path of an object, such as one with `..`.
            raise HTTPException(404, None if path else _MISSING) from None
        except BaseError as error:
            cause = storage_error(s3, url, str(error))
            if cause is None:
                raise
            raise HTTPException(503, f"The Data Docs cannot be read: {cause}") from error
        media_type, _ = mimetypes.guess_type(key)
        return Response(content, media_type=media_type)

    return router
