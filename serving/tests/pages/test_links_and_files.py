"""The links of the page, static files, Swagger UI and Data Docs, without the internet."""

import re
from pathlib import Path

from starlette.testclient import TestClient

from serving.app.pages.data_docs import HEADERS
from serving.tests.bundles import make_bundle

BUNDLE, _ = make_bundle()


def test_the_page_links_to_every_part(client: TestClient) -> None:
    page = client.get("/")
    assert BUNDLE.model_version in page.text
    links = re.findall(r'href="([^"]+)"', page.text)
    assert "http://127.0.0.1:3000" in links
    local = [link for link in links if link.startswith("/") and link != "/data-docs/"]
    assert {client.get(link).status_code for link in local} == {200}


def test_serves_only_static_files_of_the_pages(client: TestClient) -> None:
    assert client.get("/pages/style.css").headers["content-type"].startswith("text/css")
    for path in ("index.html", "__init__.py", "../index.html"):
        assert client.get(f"/pages/{path}").status_code == 404


def test_swagger_ui_loads_nothing_from_other_servers(client: TestClient) -> None:
    page = client.get("/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    assert all(address.startswith("/docs/files/") for address in addresses)
    assert {client.get(address).status_code for address in addresses} == {200}


def test_data_docs_can_be_created_while_the_server_runs(client: TestClient, home: Path) -> None:
    missing = client.get("/data-docs/")
    assert missing.status_code == 404
    assert "no Data Docs yet" in missing.json()["detail"]
    docs = home / "data_docs"
    (docs / "validations").mkdir(parents=True)
    (docs / "index.html").write_text("<h1>Data Docs</h1>")
    (docs / "validations" / "batch.html").write_text("batch")
    index = client.get("/data-docs/")
    assert index.text == "<h1>Data Docs</h1>"
    assert index.headers.items() >= HEADERS.items()
    assert client.get("/data-docs", follow_redirects=True).text == "<h1>Data Docs</h1>"
    assert client.get("/data-docs/validations/batch.html").text == "batch"
    assert client.get("/data-docs/missing.html").status_code == 404


def test_data_docs_do_not_lead_out_of_their_directory(client: TestClient, home: Path) -> None:
    docs = home / "data_docs"
    docs.mkdir(parents=True)
    secret = home / "secret.txt"
    secret.write_text("secret")
    (docs / "link.txt").symlink_to(secret)
    paths = ["../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "link.txt", f"/{secret}"]
    for path in paths:
        response = client.get(f"/data-docs/{path}")
        assert response.status_code == 404, path
        assert "secret" not in response.text.replace("secret.txt", "")
