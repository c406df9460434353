"""The pages for people: index, Swagger UI without a content delivery network, Data Docs."""

import asyncio
from pathlib import Path
from string import Template

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from serving.app.champion import ChampionWatcher
from serving.app.settings import ServingSettings

_HERE = Path(__file__).parent
_SWAGGER_FILES = "/docs/files"

_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class LateDirectory(StaticFiles):
    """Static files of a directory that may appear after the start: 404 until it does.

    Starlette keeps links and `..` from leading out of the directory.
    """

    def __init__(self, directory: Path, absent: str) -> None:
        super().__init__(directory=directory, html=True, check_dir=False)
        self._path = directory
        self._absent = absent

    async def check_config(self) -> None:
        """Raise HTTPException while there is no directory; Starlette asks until there is one."""
        if not await asyncio.to_thread(self._path.is_dir):
            raise HTTPException(404, self._absent)


def install_pages(api: FastAPI, watcher: ChampionWatcher, settings: ServingSettings) -> None:
    """Add the pages to `api`."""
    template = Template((_HERE / "index.html").read_text(encoding="utf-8"))

    @api.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        model = watcher.current
        state = f"Model {model.bundle.model_version} answers." if model else "No model yet."
        page = template.substitute(model=state, dagster=settings.dagster)
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=api.title,
            swagger_js_url=f"{_SWAGGER_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{_SWAGGER_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{_SWAGGER_FILES}/favicon.png",
        )

    absent = "Data Docs have not been written yet: they appear with the first checked batch."
    api.mount(_SWAGGER_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))
    api.mount("/pages", StaticFiles(directory=_HERE / "files"))
    api.mount("/data-docs", LateDirectory(settings.data_docs, absent))
