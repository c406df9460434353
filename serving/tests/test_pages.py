"""The pages for people, none of which needs the internet."""

import re
from pathlib import Path

from starlette.testclient import TestClient

from serving.tests.bundles import make_bundle

BUNDLE, _ = make_bundle()


def test_the_page_links_to_every_part(client: TestClient) -> None:
    page = client.get("/")
    assert BUNDLE.model_version in page.text
    links = re.findall(r'href="([^"]+)"', page.text)
    assert "http://127.0.0.1:3000" in links
    inner = [link for link in links if link.startswith("/") and link != "/data-docs/"]
    assert {client.get(link).status_code for link in inner} == {200}


def test_only_the_files_of_the_pages_are_served(client: TestClient) -> None:
    assert client.get("/pages/style.css").headers["content-type"].startswith("text/css")
    for path in ("index.html", "__init__.py", "../index.html"):
        assert client.get(f"/pages/{path}").status_code == 404


def test_the_documentation_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all(address.startswith("/docs/files/") for address in loaded)
    assert {client.get(address).status_code for address in loaded} == {200}


def test_data_docs_appear_while_the_server_runs(client: TestClient, home: Path) -> None:
    absent = client.get("/data-docs/")
    assert absent.status_code == 404
    assert "no Data Docs yet" in absent.json()["detail"]
    docs = home / "data_docs"
    (docs / "validations").mkdir(parents=True)
    (docs / "index.html").write_text("<h1>Data Docs</h1>")
    (docs / "validations" / "one.html").write_text("one")
    assert client.get("/data-docs/").text == "<h1>Data Docs</h1>"
    assert client.get("/data-docs", follow_redirects=True).text == "<h1>Data Docs</h1>"
    assert client.get("/data-docs/validations/one.html").text == "one"
    assert client.get("/data-docs/none.html").status_code == 404


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
