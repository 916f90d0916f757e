"""GET /openapi.json and /docs."""

from __future__ import annotations

import functools
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from t5serve.http import endpoints
from t5serve.http.asset import Asset
from t5serve.http.openapi import document
from t5serve.http.reference import render


def reference_routes() -> list[Route]:
    """The description of the service, for programs and for people."""

    @functools.cache
    def described() -> Asset:
        text = json.dumps(document(), separators=(",", ":"))
        return Asset.of(text.encode(), "application/json")

    @functools.cache
    def page() -> Asset:
        return Asset.of(render(document()).encode(), "text/html")

    async def openapi(request: Request) -> Response:
        return described().answer(request)

    async def docs(request: Request) -> Response:
        return page().answer(request)

    return [
        endpoints.OPENAPI.route(openapi),
        endpoints.DOCS.route(docs),
    ]
