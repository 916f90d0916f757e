"""The page's files: how they are sent, what they weigh, and that they are in the package."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from support.serving import Server
from t5serve.http.openapi import build_document
from t5serve.http.reference import render_reference
from t5serve.http.routes.page import read_assets, shorten

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "service" / "t5serve" / "page"
PATHS = ["/", "/docs", "/openapi.json", *(f"/static/{name}" for name in read_assets())]
MOST = 120_000  # bytes of all views of the page, and of what the API reference adds to it
MOST_PACKED = 70_000  # bytes of everything, with what the page loads besides


@pytest.mark.parametrize("path", PATHS)
def test_headers(server: Server, path: str) -> None:
    """Nothing inline and nothing from elsewhere may run; no type is guessed."""
    with server.client() as client:
        response = client.get(path)
    assert response.status_code == 200
    policy = dict(
        directive.split(" ", 1)
        for directive in response.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    sources = {value for name, value in policy.items() if name.endswith("-src")}
    assert sources == {"'none'", "'self'"}
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_sent_again_only_when_it_has_changed(server: Server, path: str) -> None:
    """Every answer has a tag that the next request may name."""
    with server.client() as client:
        first = client.get(path)
        assert first.headers["cache-control"] == "no-cache"
        tag = first.headers["etag"]
        for named in (tag, f'"other", {tag}'):
            again = client.get(path, headers={"if-none-match": named})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        assert client.get(path, headers={"if-none-match": '"other"'}).content == first.content


@pytest.mark.parametrize("path", PATHS)
def test_packed_for_those_who_take_it(server: Server, path: str) -> None:
    """The same bytes for those who do not."""
    with server.client() as client:
        packed = client.get(path, headers={"accept-encoding": "br, gzip"})
        plain = client.get(path, headers={"accept-encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.content == plain.content
        for response in (packed, plain):
            assert response.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/nothing.js", "/static/../app.py", "/static/%2e%2e%2fapp.py", "/page"],
)
def test_nothing_else_is_sent(server: Server, path: str) -> None:
    """No other file of the package, whatever the path."""
    with server.client() as client:
        assert client.get(path).status_code == 404


def test_media_types(server: Server) -> None:
    """A module of another type would not run."""
    with server.client() as client:
        types = {
            name: client.get(f"/static/{name}").headers["content-type"] for name in read_assets()
        }
    assert types["main.js"] == "text/javascript; charset=utf-8"
    assert types["page.css"] == "text/css; charset=utf-8"
    assert types["icon.svg"] == "image/svg+xml"


def test_the_page_is_light(server: Server) -> None:
    """So are all files together, as they are sent, and packed."""
    assert sum(len(asset.content) for asset in read_assets().values()) < MOST
    with server.client() as client:
        besides = [client.get(path) for path in ("/openapi.json", "/v1/models")]
    sent = sum(len(asset.compressed) for asset in read_assets().values())
    assert sent + sum(one.num_bytes_downloaded for one in besides) < MOST_PACKED


def test_comments_are_not_sent() -> None:
    """Lines that are comments are left out; other lines lose only the tabs before them."""
    file = b'// what it does\n/** More.\n * Lines. */\n\tuse("http://a"); // why\n\t\t`  b\n`;\n'
    assert shorten(file) == b'use("http://a"); // why\n`  b\n`;\n'


def test_every_file_is_used_and_every_import_is_there() -> None:
    """From the page, its modules and its styles, and the API reference."""
    texts = [file.read_text(encoding="utf-8") for file in FOLDER.iterdir()]
    named: set[str] = {"index.html"}
    for text in [*texts, render_reference(build_document())]:
        named |= set(re.findall(r'"(?:static|\.)/([\w.]+)"', text))
    assert named == read_assets().keys()


def test_the_files_name_no_other_address() -> None:
    """But SVG's, which is a name."""
    found = {
        address
        for file in FOLDER.iterdir()
        for address in re.findall(
            r"(?:https?:)?//[\w-]+\.[\w./-]+", file.read_text(encoding="utf-8")
        )
    }
    assert found == {"http://www.w3.org/2000/svg"}


def test_text_never_becomes_markup() -> None:
    """Text goes in as text; what could parse it is not in the sources."""
    parsing = re.compile(r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|\beval\b")
    assert not [file.name for file in FOLDER.iterdir() if parsing.search(file.read_text("utf-8"))]


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    """All of its files, beside the code that reads them."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(f"t5serve/page/{name}") for name in read_assets()}
    assert packed == {file.name: file.read_bytes() for file in FOLDER.iterdir()}
