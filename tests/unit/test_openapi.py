"""The OpenAPI document against what it describes, and the page made of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import schemathesis
from starlette.applications import Starlette
from starlette.routing import Route

from support.fakes import unstarted_models
from t5serve.errors import ERROR_RESPONSES
from t5serve.http.app import create_app
from t5serve.http.endpoints import DESCRIBED_ENDPOINTS
from t5serve.http.middleware import RequestContext
from t5serve.http.openapi import build_document
from t5serve.http.reference import render_reference
from t5serve.http.routes.page import read_assets
from t5serve.http.schemas.body import RequestBody, parse
from t5serve.settings import Settings

FOR_BROWSERS = {"/", "/static/{name}", "/docs", "/openapi.json"}
EVERYWHERE = {405}  # of methods that the document does not have
REQUESTS = [one for one in DESCRIBED_ENDPOINTS if one.request is not None]


def routes() -> list[Route]:
    """Of an application that never runs."""
    app = create_app(Settings(), unstarted_models())
    assert isinstance(app, RequestContext)
    assert isinstance(app._app, Starlette)
    return [route for route in app._app.routes if isinstance(route, Route)]


def test_every_route_is_in_it_and_no_other() -> None:
    """With its methods."""
    served = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in routes()
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(path, method) for path, of in build_document()["paths"].items() for method in of}
    assert {one for one in served if one[0] not in FOR_BROWSERS} == described


def test_it_is_valid() -> None:
    """As OpenAPI 3.1 says; and it is JSON."""
    assert build_document()["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(json.loads(json.dumps(build_document()))).validate()


def test_every_reference_has_a_target() -> None:
    """And every body is referred to."""
    text = json.dumps(build_document())
    named = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert named == build_document()["components"]["schemas"].keys()


@pytest.mark.parametrize("operation", REQUESTS, ids=lambda one: str(one.path))
def test_examples_are_taken(operation: object) -> None:
    """Each is a body that its route takes."""
    one = next(other for other in REQUESTS if other is operation)
    assert one.request is not None
    assert issubclass(one.request, RequestBody)
    parse(one.request, json.dumps(one.example).encode())


def test_statuses_are_those_of_the_errors() -> None:
    """Each that an error class has is described somewhere, and no other."""
    described = {int(status) for one in DESCRIBED_ENDPOINTS for status in one.errors}
    assert described == {answer.status for answer in ERROR_RESPONSES.values()} - EVERYWHERE
    for one in DESCRIBED_ENDPOINTS:
        assert one.needs_key == (401 in one.errors)


class Page(HTMLParser):
    """The tags of a page, and that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing_from_elsewhere() -> None:
    """It has no script or style in it, only files of the page; links lead to places there are."""
    page = Page(render_reference(build_document()))
    assert not page.open
    assert {"style", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    sources = {given for _, all_given in page.tags if (given := all_given.get("src"))}
    linked = {given["href"] for tag, given in page.tags if tag == "link"}
    assert sources | linked == {f"static/{name}" for name in ("icon.svg", "page.css", "theme.js")}
    assert sources | linked <= {f"static/{name}" for name in read_assets()}
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {given["href"] for tag, given in page.tags if tag == "a"}
    assert links <= {f"#{name}" for name in ids} | {"openapi.json", "./"}
    assert not any(name.startswith("on") for _, given in page.tags for name in given)


def test_every_field_says_what_it_is() -> None:
    """In every body, nested ones included."""
    bodies = build_document()["components"]["schemas"]
    nested = [one for body in bodies.values() for one in body.get("anyOf", ())]
    silent = [
        (body.get("title"), name)
        for body in (*bodies.values(), *nested)
        for name, field in body.get("properties", {}).items()
        if not field.get("description")
    ]
    assert not silent


def test_the_page_has_every_field() -> None:
    """Of every request."""
    text = render_reference(build_document())
    for one in REQUESTS:
        assert one.request is not None
        for name in one.request.model_fields:
            assert f"<code>{name}</code>" in text


def test_nothing_in_the_document_becomes_markup() -> None:
    """Descriptions are text."""
    hostile = json.loads(json.dumps(build_document()).replace("process is alive", "<script>x"))
    assert "<script>" not in render_reference(hostile)
    assert "&lt;script&gt;" in render_reference(hostile)
