"""The page: self-contained, well-formed, escaped, and readable without colours."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from diabetes_platform.report.page import number, render, share
from diabetes_platform_tests.report.reports import asset, check, report

_EMPTY = {"meta", "img", "br", "link", "rect"}


class Reader(HTMLParser):
    """Records the tags of a document; AssertionError if they do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


@pytest.fixture
def html() -> str:
    states = ("failed", "warning", "inconclusive", "not run", "passed")
    checks = [check(f"check_{n}", state, "A <b>word</b>.") for n, state in enumerate(states)]
    return render(report(asset("a/b", *checks), asset("c/d"), issues=(("job x", "is FAILED"),)))


def test_the_page_loads_nothing(html: str) -> None:
    reader = read(html)
    sources = [attrs["src"] or "" for _, attrs in reader.tags if "src" in attrs]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html


def test_names_and_descriptions_are_escaped(html: str) -> None:
    assert "s3://raw/&lt;b&gt;.csv" in html
    assert "A &lt;b&gt;word&lt;/b&gt;." in html


def test_the_page_works_with_a_screen_reader(html: str) -> None:
    reader = read(html)
    assert ("html", {"lang": "en"}) in reader.tags
    assert all(attrs.get("alt") for tag, attrs in reader.tags if tag == "img")
    headings = [tag for tag, _ in reader.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    headers = [attrs for tag, attrs in reader.tags if tag == "th"]
    assert all(attrs.get("scope") in {"row", "col"} for attrs in headers)
    ids = {attrs["id"] for _, attrs in reader.tags if "id" in attrs}
    links = [attrs["href"] or "" for tag, attrs in reader.tags if tag == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= ids


def test_every_state_is_shown_in_words(html: str) -> None:
    text = "".join(read(html).text)
    for state in ("✗ failed", "! warning", "~ inconclusive", "○ not run", "✓ passed"):
        assert state in text
    assert "job x" in text


def test_the_page_of_a_platform_without_runs() -> None:
    html = render(replace(report(), batch=None, model=None, history=()))
    text = "".join(read(html).text)
    assert "No batch has been read yet." in text
    assert "No model has been released yet." in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (768, "768"),
        (12345, "12,345"),
        (2.0, "2"),
        (0.0123456, "0.01235"),
        (1234.5678, "1,234.57"),
        (1e-12, "1e-12"),
        ("as it is", "as it is"),
    ],
)
def test_numbers_are_formatted_for_people(value: float | str, text: str) -> None:
    assert number(value) == text


def test_a_share_of_zero_rows_is_none() -> None:
    assert (share(2, 768), share(0, 0)) == ("0.3 %", "none")
