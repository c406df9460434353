"""The pages for people: the intake page, Swagger UI without a CDN, and Data Docs."""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from serving.app.pages.page import HERE, router
from serving.app.settings import ServingSettings

_SWAGGER_FILES = "/docs/files"


class DataDocs(StaticFiles):
    """The files of Data Docs, whose directory may be created later: 404 until then.

    Starlette prevents links and `..` from leading out of the directory.
    """

    async def check_config(self) -> None:
        """Raise HTTPException while the directory does not exist."""
        try:
            await super().check_config()
        except RuntimeError:
            missing = "There are no Data Docs yet. The first checked batch creates them."
            raise HTTPException(404, missing) from None


def install_pages(api: FastAPI, settings: ServingSettings) -> None:
    """Add the pages to `api`."""
    api.include_router(router)

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=api.title,
            swagger_js_url=f"{_SWAGGER_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{_SWAGGER_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{_SWAGGER_FILES}/favicon.png",
        )

    api.mount(_SWAGGER_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))
    api.mount("/pages", StaticFiles(directory=HERE / "files"))
    data_docs = DataDocs(directory=settings.data_docs, html=True, check_dir=False)
    api.mount("/data-docs", data_docs)
