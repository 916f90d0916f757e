"""GET /openapi.json and /docs."""

from __future__ import annotations

import functools
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from t5serve.http import endpoints
from t5serve.http.asset import Asset
from t5serve.http.openapi import build_document
from t5serve.http.reference import render_reference


def reference_routes() -> list[Route]:
    """Returns the routes of the API description, for programs and for people."""

    @functools.cache
    def json_asset() -> Asset:
        text = json.dumps(build_document(), separators=(",", ":"))
        return Asset.from_content(text.encode(), "application/json")

    @functools.cache
    def html_asset() -> Asset:
        return Asset.from_content(render_reference(build_document()).encode(), "text/html")

    async def openapi(request: Request) -> Response:
        return json_asset().respond(request)

    async def docs(request: Request) -> Response:
        return html_asset().respond(request)

    return [
        endpoints.OPENAPI.route(openapi),
        endpoints.DOCS.route(docs),
    ]
