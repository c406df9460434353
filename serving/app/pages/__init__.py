"""The pages for people: the intake page, Swagger UI without a CDN, and Data Docs."""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from diabetes_platform.contract.s3 import is_s3_url
from serving.app.pages.data_docs import DataDocs, s3_data_docs
from serving.app.pages.page import HERE, router
from serving.app.settings import ServingSettings

_SWAGGER_FILES = "/docs/files"


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
    if is_s3_url(settings.data_docs):
        api.include_router(s3_data_docs(settings.data_docs, settings.s3))
    else:
        data_docs = DataDocs(directory=settings.data_docs, html=True, check_dir=False)
        api.mount("/data-docs", data_docs)
