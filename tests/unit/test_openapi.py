"""The OpenAPI document, compared with the routes, and the page rendered from it."""

from __future__ import annotations

import json
import re
from html import unescape
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
PAGE_FILES = ("icon.svg", "page.css", "docs.css", "theme.js", "docs.js")
EVERYWHERE = {405}  # of methods that the document does not have
REQUESTS = [endpoint for endpoint in DESCRIBED_ENDPOINTS if endpoint.request is not None]


def routes() -> list[Route]:
    """Returns the routes of an application that never runs."""
    app = create_app(Settings(), unstarted_models())
    assert isinstance(app, RequestContext)
    assert isinstance(app._app, Starlette)
    return [route for route in app._app.routes if isinstance(route, Route)]


def test_every_route_is_in_it_and_no_other() -> None:
    """The document has every route for programs, with its methods."""
    served = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in routes()
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(path, method) for path, of in build_document()["paths"].items() for method in of}
    assert {route for route in served if route[0] not in FOR_BROWSERS} == described


def test_it_is_valid() -> None:
    """The document is valid OpenAPI 3.1, and JSON."""
    assert build_document()["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(json.loads(json.dumps(build_document()))).validate()


def test_every_reference_has_a_target() -> None:
    """Every reference has a target, and every body is referenced."""
    text = json.dumps(build_document())
    named = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert named == build_document()["components"]["schemas"].keys()


@pytest.mark.parametrize("operation", REQUESTS, ids=lambda endpoint: str(endpoint.path))
def test_examples_are_taken(operation: object) -> None:
    """Each example is a valid body of its route."""
    endpoint = next(known for known in REQUESTS if known is operation)
    assert endpoint.request is not None
    assert issubclass(endpoint.request, RequestBody)
    parse(endpoint.request, json.dumps(endpoint.example).encode())


def test_examples_of_answers_are_answers() -> None:
    """Each has the fields of its body, and stands on the page."""
    text = unescape(render_reference(build_document()))
    examples = [
        (endpoint.response, answer)
        for endpoint in DESCRIBED_ENDPOINTS
        for answer in endpoint.answers.values()
    ]
    assert examples
    for body, answer in examples:
        assert body is not None
        assert body.model_validate(answer).model_dump(exclude_unset=True) == answer
        assert json.dumps(answer, indent=2) in text


def test_statuses_are_those_of_the_errors() -> None:
    """The documented statuses are the statuses of the error classes."""
    described = {int(status) for endpoint in DESCRIBED_ENDPOINTS for status in endpoint.errors}
    assert described == {answer.status for answer in ERROR_RESPONSES.values()} - EVERYWHERE
    for endpoint in DESCRIBED_ENDPOINTS:
        assert endpoint.needs_key == (401 in endpoint.errors)


class Page(HTMLParser):
    """A parser that records tags and checks that they are closed in order."""

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
    """The page has no inline script or style, loads only its own files, and has no dead links."""
    page = Page(render_reference(build_document()))
    assert not page.open
    assert {"style", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    sources = {source for _, attributes in page.tags if (source := attributes.get("src"))}
    linked = {attributes["href"] for tag, attributes in page.tags if tag == "link"}
    assert sources | linked == {f"static/{name}" for name in PAGE_FILES}
    assert sources | linked <= {f"static/{name}" for name in read_assets()}
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links <= {f"#{name}" for name in ids} | {"openapi.json", "./"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_every_field_says_what_it_is() -> None:
    """Every field of every body has a description."""
    bodies = build_document()["components"]["schemas"]
    nested = [member for body in bodies.values() for member in body.get("anyOf", ())]
    silent = [
        (body.get("title"), name)
        for body in (*bodies.values(), *nested)
        for name, field in body.get("properties", {}).items()
        if not field.get("description")
    ]
    assert not silent


def test_the_page_has_every_field() -> None:
    """The page has every field of every request."""
    text = render_reference(build_document())
    for endpoint in REQUESTS:
        assert endpoint.request is not None
        for name in endpoint.request.model_fields:
            assert f"<code>{name}</code>" in text


def test_nothing_in_the_document_becomes_markup() -> None:
    """Descriptions are escaped."""
    hostile = json.loads(json.dumps(build_document()).replace("process is alive", "<script>x"))
    assert "<script>" not in render_reference(hostile)
    assert "&lt;script&gt;" in render_reference(hostile)
