"""Links on an asset's page to storage, Flink, Data Docs and API."""

from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import dagster as dg

from diabetes_platform.orchestration.describe import CHAMPION, GRAPH_TAG, SERVING, STAGING
from diabetes_platform.settings import PlatformSettings

_TABLE_NAME = "dagster/table_name"
_FLINK_PREFIXES = frozenset({"kafka", "stream"})


def with_links(spec: dg.AssetSpec, settings: PlatformSettings) -> dg.AssetSpec:
    """Return the asset with links to the services that hold its data."""
    links = links_of(spec, settings)
    return spec.merge_attributes(metadata=links) if links else spec


def runs_url(dagster_url: str, graph: str) -> str:
    """Return the page of the runs with this tag `platform/graph`: increments are `stream`."""
    return f"{dagster_url}/runs?{urlencode({'q[0]': f'tag:{GRAPH_TAG}={graph}'})}"


def links_of(spec: dg.AssetSpec, settings: PlatformSettings) -> dict[str, Any]:
    """Return links, as metadata, to the services that the settings name."""
    urls = {}
    if settings.flink_url is not None and spec.key.path[0] in _FLINK_PREFIXES:
        urls["flink"] = settings.flink_url
    if "deltalake" in spec.kinds and (folder := _folder(str(spec.metadata[_TABLE_NAME]), settings)):
        urls["storage"] = folder
    if spec.key in {SERVING, STAGING}:
        urls["data_docs"] = f"{settings.api}/data-docs/"
    if spec.key == CHAMPION:
        urls["api"] = f"{settings.api}/docs"
    return {f"link/{name}": dg.MetadataValue.url(url) for name, url in urls.items()}


def _folder(table: str, settings: PlatformSettings) -> str | None:
    """Return the page of a table's folder in MinIO's console, which takes the path as one part."""
    if settings.storage_console_url is None:
        return None
    lake = urlsplit(settings.lake)
    path = f"{lake.path}/{table}/".removeprefix("/")
    return f"{settings.storage_console_url}/browser/{lake.netloc}/{quote(path, safe='')}"
