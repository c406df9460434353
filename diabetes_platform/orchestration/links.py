"""Where else to look at an asset: in the storage, in Flink, in the Data Docs, at the API."""

from typing import Any
from urllib.parse import quote, urlsplit

import dagster as dg

from diabetes_platform.orchestration.describe import CHAMPION, SERVING, STAGING
from diabetes_platform.settings import PlatformSettings

_TABLE_NAME = "dagster/table_name"
_BY_FLINK = frozenset({"kafka", "stream"})


def with_links(spec: dg.AssetSpec, settings: PlatformSettings) -> dg.AssetSpec:
    """Return the asset with links to the services that its data are in."""
    found = links_of(spec, settings)
    return spec.merge_attributes(metadata=found) if found else spec


def links_of(spec: dg.AssetSpec, settings: PlatformSettings) -> dict[str, Any]:
    """Return what a browser can open, of the services that the settings name."""
    found = {}
    if settings.flink_url is not None and spec.key.path[0] in _BY_FLINK:
        found["flink"] = settings.flink_url
    if "deltalake" in spec.kinds and (folder := _folder(str(spec.metadata[_TABLE_NAME]), settings)):
        found["storage"] = folder
    if spec.key in {SERVING, STAGING}:
        found["data_docs"] = f"{settings.api}/data-docs/"
    if spec.key == CHAMPION:
        found["api"] = f"{settings.api}/docs"
    return {f"link/{name}": dg.MetadataValue.url(url) for name, url in found.items()}


def _folder(table: str, settings: PlatformSettings) -> str | None:
    """Return the console's page of a table's folder: MinIO's take the path as one part."""
    if settings.storage_console_url is None:
        return None
    lake = urlsplit(settings.lake)
    path = f"{lake.path}/{table}/".removeprefix("/")
    return f"{settings.storage_console_url}/browser/{lake.netloc}/{quote(path, safe='')}"
